"""`dane-radius doctor` on a real server: healthy, and with one fault of its installation at a time."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.dane_radius.doctor_place import (
    DEADLINE_SECONDS,
    PROGRAM,
    Place,
    changed,
    running_place,
)

pytestmark = pytest.mark.daemons

ACCEPT = "\tauthorize {\n\t\tupdate control {\n\t\t\t&Auth-Type := Accept\n\t\t}\n"


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with running_place() as found:
        yield found


def test_a_healthy_installation(place: Place) -> None:
    examined = place.examine()
    assert examined.errors == []
    assert examined.code == 0
    for check in (
        "server.program",
        "server.configuration",
        "server.threads",
        "install.decision",
        "install.link",
        "files.session_directory",
        "files.anchors",
        "files.server_key",
        "files.log",
        "files.control_socket",
        "running.server",
        "running.version",
        "running.policy",
        "running.descriptors",
        "resolver.reachable",
        "resolver.good_name",
        "resolver.bad_name",
        "resolver.extended_errors",
        "resolver.signatures",
        "resolver.clock",
        "resolver.cold_name",
        "anchors.count",
        "anchors.expiry",
        "certificate.chain",
        "certificate.expiry",
        "certificate.key",
        "certificate.name",
    ):
        assert examined.of(check, "ok"), (check, [f for f in examined.findings if f["id"] == check])


def test_the_table_and_the_problems_alone(place: Place) -> None:
    done = subprocess.run(place.command(), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 0, done.stdout
    assert "round trip" in done.stdout
    quiet = subprocess.run(
        place.command("--quiet"), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert quiet.returncode == 0
    assert "round trip" not in quiet.stdout
    # The loopback client of the tests has a secret from a sample file.
    assert "server.client_secret" in quiet.stdout
    assert "fix: give client loopback" in quiet.stdout


def test_a_terminal_without_the_marks(place: Place) -> None:
    done = subprocess.run(
        place.command(),
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert b"+ " in done.stdout


def test_unreadable_anchors(place: Place) -> None:
    folder = place.radius.anchor_dir / "ca"
    os.chown(folder, 0, 0)
    folder.chmod(0o700)
    try:
        examined = place.examine()
    finally:
        folder.chmod(0o755)
    assert examined.code == 1
    assert "files.anchors" in examined.errors
    (finding,) = examined.of("files.anchors", "error")
    assert f"chmod g+rx {folder}" in finding["fix"]


@pytest.mark.parametrize(("mode", "owner"), [(0o755, "root"), (0o700, "root")])
def test_a_session_folder_that_is_not_the_servers_alone(place: Place, mode: int, owner: str) -> None:
    # The server itself corrects the mode of a folder that it owns.
    folder = place.radius.session_dir
    before = folder.stat()
    user = pwd.getpwnam(owner)
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(mode)
    try:
        examined = place.examine()
    finally:
        os.chown(folder, before.st_uid, before.st_gid)
        folder.chmod(0o700)
    assert examined.errors == ["files.session_directory"]
    (finding,) = examined.of("files.session_directory", "error")
    assert f"{mode:04o}" in finding["found"]


def test_too_few_threads(place: Place) -> None:
    with changed(place.radius.raddb / "radiusd.conf", "max_servers = 1024", "max_servers = 32"):
        examined = place.examine()
    assert examined.errors == ["server.threads"]
    assert "32" in examined.of("server.threads", "error")[0]["found"]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("sites-available/dane", "\t\tdane_eap_only\n", "", "dane_eap_only"),
        ("sites-available/dane-check", "dane.authenticate {", "nothing {", "dane.authenticate"),
        ("sites-available/dane-check", "\tauthorize {\n", ACCEPT, "Accept"),
        ("mods-available/dane_eap", "virtual_server = dane-check", "#", "virtual_server"),
    ],
)
def test_an_edited_site_that_no_longer_decides(place: Place, file: str, old: str, new: str, said: str) -> None:
    with changed(place.radius.raddb / file, old, new):
        examined = place.examine()
    assert examined.code == 1
    assert "install.decision" in examined.errors
    assert any(said in finding["found"] for finding in examined.of("install.decision", "error"))
    assert examined.of("install.file", "warning")


def test_an_edit_that_harms_nothing_is_a_warning(place: Place) -> None:
    with changed(place.radius.raddb / "sites-available/dane", "server dane {", "# Ours.\nserver dane {"):
        examined = place.examine()
    assert examined.errors == []
    (finding,) = examined.of("install.file", "warning")
    assert "sites-available/dane" in finding["found"]


def test_a_missing_link_and_a_missing_file(place: Place) -> None:
    link = place.radius.raddb / "sites-enabled/dane-check"
    target = os.readlink(link)
    wait = place.radius.raddb / "mods-config/dane/wait.pl"
    text = wait.read_bytes()
    link.unlink()
    wait.unlink()
    try:
        examined = place.examine()
    finally:
        link.symlink_to(target)
        wait.write_bytes(text)
        shutil.chown(wait, "root", "freerad")
    assert {"install.link", "install.file", "server.configuration"} <= set(examined.errors)


def test_an_invalid_policy(place: Place) -> None:
    with changed(place.radius.policy_file, "version: 1", "version: 99"):
        examined = place.examine()
    assert "policy.file" in examined.errors


def test_an_invalid_configuration_is_one_finding(place: Place) -> None:
    with changed(place.radius.config_file, "[resolver]", "[resolver]\nunheard_of = 1"):
        examined = place.examine()
    assert {"install.configuration"} <= set(examined.errors) <= {"install.configuration", "server.configuration"}
    assert "unheard_of" in examined.of("install.configuration", "error")[0]["found"]


def test_a_readable_private_key(place: Place) -> None:
    key = place.radius.folder / "pki" / "server.key"
    key.chmod(0o444)
    try:
        examined = place.examine()
    finally:
        key.chmod(0o400)
    assert "files.server_key" in examined.errors


def test_a_client_that_can_be_impersonated(place: Place) -> None:
    clients = place.radius.raddb / "clients.conf"
    before = clients.read_text()
    secret = "SecretThatNobodyMayRead"
    # From FreeRADIUS 3.2.5 on, the server's own setting covers a client without one.
    block = f"client hall {{\n\tipaddr = 192.0.2.7\n\tsecret = {secret}\n\trequire_message_authenticator = no\n}}\n"
    clients.write_text(before + block)
    try:
        examined = place.examine()
    finally:
        clients.write_text(before)
    (finding,) = examined.of("server.client", "warning")
    assert "client hall" in finding["found"]
    assert secret not in json.dumps(examined.findings)


def test_without_rights_it_says_what_it_could_not_check(place: Place) -> None:
    # The command's own environment may be open to root only; the server's is not.
    code = "import sys; from dane_radius.cli import main; sys.argv[0] = 'dane-radius'; main()"
    assert place.radius.python_path is not None
    user = pwd.getpwnam("nobody")
    done = subprocess.run(
        ["/usr/bin/python3", "-P", "-c", code, *map(str, place.command("--json")[1:])],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": place.radius.python_path.split(":")[0]},
        cwd="/",
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 1
    findings = json.loads(done.stdout)["findings"]
    assert any("ermission denied" in finding["found"] for finding in findings)


@pytest.mark.parametrize(
    "options",
    [["--raddb", "/nonexistent"], ["--good-name", "*.example"], ["--server-name", "a..b"], ["--unheard-of"], ["extra"]],
)
def test_wrong_usage(options: list[str]) -> None:
    done = subprocess.run([PROGRAM, "doctor", *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_has_an_example() -> None:
    done = subprocess.run([PROGRAM, "doctor", "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "dane-radius doctor --server-name" in done.stdout


# The last test: it ends the server.
def test_a_stopped_server(place: Place) -> None:
    place.radius.session_dir.chmod(0o755)
    assert place.radius.daemon is not None
    place.radius.daemon.stop()
    # What the server would correct while it runs.
    place.radius.session_dir.mkdir(exist_ok=True)
    place.radius.session_dir.chmod(0o755)
    examined = place.examine()
    assert {"running.server", "files.session_directory"} <= set(examined.errors)
    assert "systemctl start freeradius" in examined.of("running.server", "error")[0]["fix"]

"""`dane-radius install` on a copy of Debian's stock configuration, judged by the server's own check."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dane_radius.install.installer import Layout
from dane_radius.install.server_limits import threads_of
from tests.harness.deploy import deploy
from tests.harness.freeradius import STOCK_RADDB

pytestmark = pytest.mark.daemons

_ENABLED = ("mods-enabled/dane", "mods-enabled/dane_eap", "sites-enabled/dane", "sites-enabled/dane-check")


class Machine:
    """A stock raddb of its own, and the command run from where the server's user can read it."""

    def __init__(self, folder: Path) -> None:
        self.raddb = folder / "raddb"
        self.folder = folder
        self.libraries = deploy(folder / "python")
        shutil.copytree(STOCK_RADDB, self.raddb, symlinks=True)
        group = pwd.getpwnam("freerad").pw_gid
        for path in [self.raddb, *self.raddb.rglob("*")]:
            os.chown(path, 0, group, follow_symlinks=False)
        conf = self.raddb / "radiusd.conf"
        text = conf.read_text()
        for key, value in {
            "confdir": self.raddb,
            "raddbdir": self.raddb,
            "logdir": folder,
            "run_dir": folder / "run",
        }.items():
            text = re.sub(rf"^(\s*){key} = .*$", rf"\g<1>{key} = {value}", text, flags=re.MULTILINE)
        conf.write_text(text)
        user = pwd.getpwnam("freerad")
        (folder / "run").mkdir()
        for path in (folder / "run", folder):
            os.chown(path, user.pw_uid, user.pw_gid)

    def install(self, *options: str) -> tuple[int, dict[str, list[str]]]:
        arguments = ["--raddb", str(self.raddb), "--config-dir", str(self.folder / "etc")]
        arguments += ["--anchors", str(self.folder / "anchors"), "--json", *options]
        code = "import sys; from dane_radius.cli import main; sys.argv[0] = 'dane-radius'; main()"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": self.libraries.split(":")[0]}
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, "install", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            cwd="/",
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        self.said = done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def snapshot(self) -> dict[str, str | bytes]:
        return {
            str(path.relative_to(self.raddb)): os.readlink(path) if path.is_symlink() else path.read_bytes()
            for path in sorted(self.raddb.rglob("*"))
            if path.is_symlink() or path.is_file()
        }


@pytest.fixture
def machine(folder: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    place = folder / f"install-{request.node.name}"
    place.mkdir()
    place.chmod(0o755)
    yield Machine(place)
    shutil.rmtree(place)


def test_install_passes_the_servers_check_and_is_idempotent(machine: Machine, folder: Path) -> None:
    before = machine.snapshot()
    code, planned = machine.install("--dry-run", *_certificate(machine))
    assert code == 0
    assert planned["actions"]
    assert machine.snapshot() == before, "--dry-run changed something"
    code, report = machine.install(*_certificate(machine))
    assert code == 0, report
    assert "the configuration is good" in str(report["check"])
    for name in _ENABLED:
        assert (machine.raddb / name).is_symlink()
    assert not (machine.raddb / "sites-enabled/default").exists()
    after = machine.snapshot()
    code, again = machine.install(*_certificate(machine))
    assert code == 0
    assert again["actions"] == []
    assert machine.snapshot() == after
    code, _ = machine.install("--uninstall")
    assert code == 0
    assert machine.snapshot() == before, "--uninstall did not restore the stock configuration"


@pytest.mark.parametrize("keep_default", [False, True])
def test_message_authenticators_are_demanded_where_the_server_can(machine: Machine, keep_default: bool) -> None:
    """CVE-2024-3596. FreeRADIUS has the settings from 3.2.5 on; before, they would stop its start."""
    conf = machine.raddb / "radiusd.conf"
    keys = re.compile(r"^\t(require_message_authenticator|limit_proxy_state) = (\w+)$", re.MULTILINE)
    known = keys.findall(conf.read_text())
    assert {value for _, value in known} <= {"auto"}
    options = ["--keep-default", "--no-check"] if keep_default else []
    assert machine.install(*_certificate(machine), *options)[0] == 0
    assert keys.findall(conf.read_text()) == [(key, "auto" if keep_default else "yes") for key, _ in known]


def _certificate(machine: Machine) -> list[str]:
    from tests.harness.pki import authority

    folder = machine.folder / "pki"
    if not folder.exists():
        ca = authority("EAP server CA")
        certificate, key = ca.issue("radius.example.net", eku=None).save(folder, "server")
        os.chown(key, pwd.getpwnam("freerad").pw_uid, 0)
        folder.chmod(0o755)
        certificate.chmod(0o644)
    return ["--server-key", str(folder / "server.key"), "--server-certificate", str(folder / "server.pem")]


def test_an_operators_edit_is_kept_and_the_new_version_put_beside(machine: Machine) -> None:
    assert machine.install(*_certificate(machine))[0] == 0
    edited = machine.raddb / "sites-available" / "dane"
    edited.write_text(edited.read_text() + "# our own change\n")
    code, report = machine.install(*_certificate(machine))
    assert code == 0
    assert edited.read_text().endswith("# our own change\n")
    assert edited.with_name("dane.dane-new").exists()
    assert any("was changed by hand" in note for note in report["notes"])
    code, report = machine.install("--uninstall", "--no-check")
    assert edited.exists()
    assert any("left where it is" in note for note in report["notes"])


def test_the_servers_limits_are_raised_as_asked_and_given_back(machine: Machine) -> None:
    conf, settings = machine.raddb / "radiusd.conf", machine.folder / "etc" / "dane-radius.toml"
    before = conf.read_text()
    status = conf.stat()
    # None: as in the previous install.
    for threads, expected, waiting in ((0, 32, 28), (100, 100, 87), (None, 100, 87), (2000, 2000, 1750)):
        # --keep-default: nothing else in radiusd.conf changes.
        options = ["--keep-default"] if threads is None else ["--keep-default", "--threads", str(threads)]
        code, report = machine.install(*_certificate(machine), *options, "--no-check")
        assert code == 0
        assert threads_of(conf.read_text()) == expected
        assert f"\nmax_waiting = {waiting}\n" in settings.read_text()
        assert (conf.read_text() == before) == (expected == 32)
        after = conf.stat()
        assert (after.st_mode, after.st_uid, after.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    assert any("raise limits in" in action and "max_servers 100 -> 2000" in action for action in report["actions"])
    # What the operator sets in between stays.
    conf.write_text(conf.read_text().replace("max_requests = 65536", "max_requests = 131072"))
    code, report = machine.install("--uninstall", "--no-check")
    assert code == 0
    assert conf.read_text() == before.replace("max_requests = 16384", "max_requests = 131072")
    assert any("max_requests was changed since" in note for note in report["notes"])


def test_an_upgrade_keeps_what_was_chosen(machine: Machine, request: pytest.FixtureRequest) -> None:
    """`pip install --upgrade`, then `dane-radius install` without any option."""
    accounting = Layout(raddb=machine.raddb).accounting_db.parent
    if not accounting.exists():
        request.addfinalizer(lambda: shutil.rmtree(accounting, ignore_errors=True))
    chosen = ["--hint-socket", "/run/trust-sync/trust-sync.sock", "--accounting", "sqlite", "--resumption"]
    assert machine.install(*_certificate(machine), *chosen, "--no-check")[0] == 0
    before = machine.snapshot()
    settings = (machine.folder / "etc" / "dane-radius.toml").read_text()
    assert '|| ("yes" == "yes")' in (machine.raddb / "sites-available/dane").read_text()
    assert '\nsocket = "/run/trust-sync/trust-sync.sock"\n' in settings
    assert machine.install()[1]["actions"] == []
    assert machine.snapshot() == before
    # The new option takes effect, and stays in force for later installs.
    for options in (("--hint-socket", "", "--accounting", "none", "--no-resumption"), ()):
        code, report = machine.install(*options)
        assert code == 0, report
        assert bool(report["actions"]) == bool(options)
        site = (machine.raddb / "sites-available/dane").read_text()
        assert '|| ("no" == "yes")' in site
        assert "&Allow-Session-Resumption := No\n" in site
        assert not (machine.raddb / "mods-enabled/dane_sql").is_symlink()
        assert str(machine.folder / "pki") in (machine.raddb / "mods-available/dane_eap").read_text()
        assert '\n# socket = "/run/' in (machine.folder / "etc" / "dane-radius.toml").read_text()


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("policy.yaml", "version: 1", "version: 9", "policy.yaml"),
        ("policy.yaml", "version: 1", "version: [", "policy.yaml"),
        ("dane-radius.toml", "policy = ", "polizy = ", "polizy"),
        ("dane-radius.toml", "policy = ", "policy = = ", "dane-radius.toml"),
        ("dane-radius.toml", 'policy.yaml"', 'absent.yaml"', "absent.yaml"),
    ],
    ids=["version", "yaml", "key", "toml", "absent"],  # folders are called so
)
def test_a_broken_policy_or_configuration_fails_the_check(
    machine: Machine, file: str, old: str, new: str, said: str
) -> None:
    """FreeRADIUS 3.2.7 does not instantiate the module for its check."""
    assert machine.install(*_certificate(machine))[0] == 0
    path = machine.folder / "etc" / file
    good = path.read_text()
    path.write_text(good.replace(old, new))
    assert path.read_text() != good
    code, report = machine.install()
    assert (code, report["passed"]) == (1, False)
    assert said in str(report["check"])
    path.write_text(good)
    assert machine.install()[0] == 0


@pytest.mark.parametrize("manifest", ["", "[]", '{"version": 2}', '{"version": 1, "options": [], "files": {}}'])
def test_a_manifest_that_cannot_be_read_is_refused(machine: Machine, manifest: str) -> None:
    (machine.raddb / ".dane-radius.json").write_text(manifest)
    code, report = machine.install(*_certificate(machine))
    assert (code, report) == (1, {})
    assert ".dane-radius.json: " in machine.said
    assert not (machine.raddb / "mods-enabled/dane").exists()


def test_a_folder_that_is_no_raddb_is_refused(machine: Machine) -> None:
    code, report = machine.install("--raddb", str(machine.folder))
    assert code == 1
    assert report == {}
    assert "is this FreeRADIUS's raddb?" in machine.said


def test_a_python_path_that_the_server_cannot_enter_is_refused(machine: Machine) -> None:
    (machine.folder / "python").chmod(0o700)
    code, _ = machine.install(*_certificate(machine))
    assert code == 1
    assert "user freerad may not enter" in machine.said
    assert not (machine.raddb / "mods-enabled/dane").exists()


def test_a_broken_result_is_reported(machine: Machine) -> None:
    (machine.raddb / "clients.conf").write_text("client broken {\n")
    code, report = machine.install(*_certificate(machine))
    assert code == 1
    assert "refuses the configuration" in str(report["check"])

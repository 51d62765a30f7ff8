"""A server's life beside its decisions: start, reload, what it sweeps, a full disk, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.process import DaemonError, run, wait_for
from tests.integration.dane_radius.conftest import OwnServers

pytestmark = pytest.mark.daemons


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("policy.yaml", "version: 1\nrules: [{name: a, identity: ['*.example.net'], grant: {vlan: 0}}]\n", "VLAN ID"),
        ("policy.yaml", "rules: [", "policy.yaml"),
        ("dane-radius.toml", "[resolver]\naddress = '192.0.2.53'\n", "plain DNS could be forged"),
        ("dane-radius.toml", "polcy = 'x'\n", "polcy: unknown key"),
        ("dane-radius.toml", "[resolver]\ntimeout = 'soon'\n", "resolver.timeout: 'soon' found"),
    ],
)
def test_the_server_refuses_to_start_on_a_mistake_and_says_which(
    own_servers: OwnServers,
    file: str,
    text: str,
    said: str,
    request: pytest.FixtureRequest,
) -> None:
    server = own_servers.prepare(f"mistake-{abs(hash(request.node.name))}")
    target = server.folder / "etc" / file
    target.write_text(text)
    target.chmod(0o644)
    with pytest.raises(DaemonError, match=said):
        server.start()
    assert file in server.log.read_text()


def test_the_session_folder_is_made_when_it_is_gone(own_servers: OwnServers) -> None:
    """systemd empties a service's folder below /run at each start, and programs that clean up delete folders too."""
    server = own_servers.prepare("no-session-folder")
    user = pwd.getpwnam("freerad")
    # As RuntimeDirectory= makes it.
    os.chown(server.session_dir.parent, user.pw_uid, user.pw_gid)
    shutil.rmtree(server.session_dir)

    def private() -> bool:
        status = server.session_dir.stat()
        return (stat.S_IMODE(status.st_mode), status.st_uid) == (0o700, user.pw_uid)

    with server:
        assert private()
        assert own_servers.authenticate(server).accepted
        shutil.rmtree(server.session_dir)
        wait_for(server.session_dir.exists, "the session folder to be made again")
        assert private()
        assert own_servers.authenticate(server).accepted
        wait_for(lambda: "session folder was gone" in server.decision_log.read_text(), "a line in the log")
        server.session_dir.chmod(0o755)
        wait_for(private, "the session folder to be closed to others")


@pytest.mark.parametrize(
    ("found", "said"),
    [("foreign", "belongs to user 0"), ("file", "is no folder"), ("link", "is no folder"), ("nothing", "denied")],
)
def test_a_session_folder_that_cannot_be_used_stops_the_start(own_servers: OwnServers, found: str, said: str) -> None:
    server = own_servers.prepare(f"session-folder-{found}")
    if found == "foreign":
        os.chown(server.session_dir, 0, 0)
    else:
        shutil.rmtree(server.session_dir)
        if found == "file":
            server.session_dir.touch()
        elif found == "link":
            server.session_dir.symlink_to("/tmp")
    try:
        with pytest.raises(DaemonError, match=f"session.directory: {server.session_dir}: .*{said}"):
            server.start()
    finally:
        server.stop()


def test_hints_that_the_site_does_not_ask_for_are_missed(own_servers: OwnServers) -> None:
    """`[hint] socket` needs a site that calls the module on the identity. An edited site may not do that."""
    server = own_servers.prepare("no-hints")
    settings = server.config_file.read_text()
    assert "\n# socket = " in settings
    server.config_file.write_text(settings.replace("\n# socket = ", "\nsocket = "))
    site = server.raddb / "sites-available/dane"
    text = site.read_text()
    asks = 'if (&session-state:Tmp-Integer-0 || ("no" == "yes"))'
    assert asks in text
    site.write_text(text.replace(asks, 'if ("no" == "yes")'))
    with server:
        for _ in range(2):
            assert own_servers.authenticate(server).accepted
        wait_for(lambda: "dane-radius install --hint-socket" in server.decision_log.read_text(), "the advice")
    assert server.decision_log.read_text().count("does not ask for hints") == 1


def test_a_reload_changes_nothing(own_servers: OwnServers) -> None:
    """`systemctl reload freeradius` sends SIGHUP: FreeRADIUS reads virtual servers again and keeps the module."""
    server = own_servers.prepare("reloaded")
    stranger = own_servers.ca.issue("nobody.camera._device.iot.example")
    with server:
        assert server.daemon is not None
        # FreeRADIUS ignores the signal while no file is newer, by whole seconds, than what it has read.
        later = time.time() + 60
        for name in ("sites-available/dane", "sites-available/dane-check", "mods-available/dane"):
            file = server.raddb / name
            file.write_text(file.read_text() + "\n# reloaded\n")
            os.utime(file, (later, later))
        server.daemon.signal(signal.SIGHUP)
        wait_for(lambda: server.log.read_text().count("Loaded virtual server dane\n") == 2, "the reload")
        assert own_servers.authenticate(server).accepted
        refused = own_servers.authenticate(server, stranger)
        assert refused.code == "Access-Reject"
        assert server.decision_for(refused.station)["reason"] == "tlsa_absent"
        assert server.decision_log.read_text().count('"event":"started"') == 1


def test_session_files_of_a_killed_server_are_gone_before_the_next_one_answers(own_servers: OwnServers) -> None:
    """They hold TLS secrets, and without resumption nobody can use them."""
    server = own_servers.prepare("swept")
    left, other = server.session_dir / "left.asn1", server.session_dir / "other.txt"
    for path in (left, other):
        path.write_bytes(b"x")
    with server:
        assert not left.exists()
        assert other.exists()
        assert server.metric("dane_radius_session_files_swept_total") == 1


def test_session_files_of_unfinished_handshakes_are_swept_by_age(own_servers: OwnServers) -> None:
    """The running server sweeps files of handshakes that led to no decision."""
    server = own_servers.prepare("sweep")
    old, young, other = (server.session_dir / name for name in ("old.asn1", "young.vps", "other.txt"))
    with server:
        for path in (old, young, other):
            path.write_bytes(b"x")
        os.utime(old, (0, 0))
        os.utime(other, (0, 0))
        wait_for(lambda: not old.exists(), "the old session file to be swept", timeout=20)
        assert young.exists()
        assert other.exists()
        assert server.metric("dane_radius_session_files_swept_total") == 1


@contextlib.contextmanager
def small_disk(folder: Path, octets: int) -> Iterator[None]:
    """A file system of its own under `folder`, for the server's user."""
    user = pwd.getpwnam("freerad")
    options = f"size={octets},mode=0755,uid={user.pw_uid},gid={user.pw_gid}"
    run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder])
    try:
        yield
    finally:
        run(["umount", folder])


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


def test_a_full_disk_loses_lines_and_nothing_else(own_servers: OwnServers) -> None:
    """Devices are admitted and refused as before; lost lines are counted, and no part of a line is in the log."""
    server = own_servers.prepare("full-disk")
    stranger = own_servers.ca.issue("nobody.camera._device.iot.example")
    filler = server.decision_log.with_name("filler")
    lost = "dane_radius_decisions_unlogged_total"
    with small_disk(server.decision_log.parent, 256 * 1024), server:
        before = own_servers.authenticate(server)
        assert server.decision_for(before.station)["reason"] == "dane_match"
        fill(filler)
        # The log's last page has room for some lines; more than that are written.
        good = [own_servers.authenticate(server) for _ in range(12)]
        bad = [own_servers.authenticate(server, stranger) for _ in range(4)]
        assert [result.accepted for result in good] == [True] * 12
        assert [result.code for result in bad] == ["Access-Reject"] * 4
        stations = {result.station.replace(":", "-") for result in (*good, *bad)}

        def logged() -> int:
            return sum(line["station"].lower() in stations for line in server.decisions())

        wait_for(lambda: logged() + server.metric(lost) == 16, "each decision to be in the log or counted as lost")
        assert server.metric(lost) >= 1
        assert (
            server.metric('dane_radius_decisions_total{monitored="false",reason="dane_match",verdict="accept"}') == 13
        )
        lines = server.decision_log.read_text()
        assert lines.endswith("\n")
        assert all(json.loads(line)["event"] for line in lines.splitlines())
        filler.unlink()
        after = own_servers.authenticate(server)
        assert server.decision_for(after.station)["reason"] == "dane_match"
        assert server.decision_log.read_text().startswith(lines)


def test_the_server_ends_in_order(own_servers: OwnServers) -> None:
    server = own_servers.prepare("ends")
    with server:
        assert own_servers.authenticate(server).accepted
        assert server.control_socket.exists()
        assert server.daemon is not None
        server.daemon.signal(signal.SIGTERM)
        server.daemon.process.wait(15)
        assert server.daemon.process.returncode == 0
    assert not server.control_socket.exists()
    assert '"event":"stopped"' in server.decision_log.read_text()

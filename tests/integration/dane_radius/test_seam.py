"""Everything that can break between FreeRADIUS and the decision must end in a reject."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.eap import authenticate, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot
from tests.harness.pki import Authority, Identity, authority
from tests.harness.process import DaemonError, wait_for
from tests.harness.unbound import Unbound
from tests.integration.dane_radius.conftest import POLICY, ZONE

pytestmark = pytest.mark.daemons

NAME = "seam.camera._device.iot.example"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority("Seam Test CA")


@pytest.fixture(scope="module")
def device(ca: Authority, dns: tuple[Knot, Unbound]) -> Identity:
    identity = ca.issue(NAME)
    dns[0].add_tlsa(ZONE, NAME, str(identity.tlsa()), 3600)
    return identity


def _server(folder: Path, name: str, dns: tuple[Knot, Unbound], ca: Authority) -> FreeRadius:
    return FreeRadius(folder / name, dns[1].port, POLICY, [ca])


def _peer(server: FreeRadius, device: Identity, name: str = "peer") -> Path:
    return write_peer_config(
        server.folder / "peers", device, identity="anonymous@iot.example", server_ca=server.server_ca_file, name=name
    )


@pytest.fixture(scope="module")
def file_server(folder: Path, dns: tuple[Knot, Unbound], ca: Authority) -> Iterator[FreeRadius]:
    """A server whose check site takes the session file's name from a NAS-Identifier that begins with `file:`."""
    server = _server(folder, "file-server", dns, ca)
    server.prepare()
    site = server.raddb / "sites-available" / "dane-check"
    text = site.read_text()
    marker = "\t\tdane.authenticate {\n"
    assert marker in text
    override = (
        "\t\tif (&NAS-Identifier =~ /^file:(.*)$/) {\n\t\t\tupdate request {\n"
        f'\t\t\t\t&TLS-Cache-Filename := "{server.session_dir}/%{{1}}"\n\t\t\t}}\n\t\t}}\n'
        '\t\tif (&NAS-Identifier == "nothing") {\n\t\t\tupdate request {\n'
        "\t\t\t\t&TLS-Cache-Filename !* ANY\n\t\t\t}\n\t\t}\n"
    )
    site.write_text(text.replace(marker, override + marker, 1))
    with server:
        yield server


@pytest.fixture(scope="module")
def good_session(file_server: FreeRadius, device: Identity) -> bytes:
    """A session file that leads to an accept, made by hand: an SSL_SESSION with the certificate in [3]."""
    certificate = device.der
    peer = b"\xa3" + _length(len(certificate)) + certificate
    body = b"\x02\x01\x01" + b"\x02\x02\x03\x04" + b"\x04\x02\x13\x02" + b"\x04\x00" + b"\x04\x00" + peer
    return b"\x30" + _length(len(body)) + body


def _length(size: int) -> bytes:
    return bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")


def _place(server: FreeRadius, name: str, octets: bytes, *, owner: str = "freerad", mode: int = 0o200) -> None:
    path = server.session_dir / name
    path.write_bytes(octets)
    user = pwd.getpwnam(owner)
    os.chown(path, user.pw_uid, user.pw_gid)
    path.chmod(mode)


def _reason(server: FreeRadius, device: Identity, nas: str) -> tuple[str | None, str]:
    result = authenticate(server, _peer(server, device), nas=nas)
    return result.code, str(server.decision_for(result.station)["reason"])


def test_a_whole_session_file_is_accepted(file_server: FreeRadius, device: Identity, good_session: bytes) -> None:
    """The control of the tests below: the detour by itself refuses nobody."""
    _place(file_server, "good.asn1", good_session)
    assert _reason(file_server, device, "file:good.asn1") == ("Access-Accept", "dane_match")


def test_a_missing_session_file_rejects(file_server: FreeRadius, device: Identity) -> None:
    assert _reason(file_server, device, "file:missing.asn1") == ("Access-Reject", "session_file_missing")


def test_no_session_file_name_rejects(file_server: FreeRadius, device: Identity) -> None:
    assert _reason(file_server, device, "nothing") == ("Access-Reject", "session_file_missing")


def test_an_unreadable_session_file_rejects(file_server: FreeRadius, device: Identity, good_session: bytes) -> None:
    _place(file_server, "foreign.asn1", good_session, owner="root", mode=0o600)
    assert _reason(file_server, device, "file:foreign.asn1") == ("Access-Reject", "session_file_unreadable")


def test_a_session_file_elsewhere_is_not_read(file_server: FreeRadius, device: Identity, good_session: bytes) -> None:
    _place(file_server, "../elsewhere.asn1", good_session)
    assert _reason(file_server, device, "file:../elsewhere.asn1") == ("Access-Reject", "session_file_unreadable")


def test_a_link_is_not_followed(file_server: FreeRadius, device: Identity, good_session: bytes) -> None:
    _place(file_server, "../elsewhere.asn1", good_session)
    (file_server.session_dir / "link.asn1").symlink_to(file_server.session_dir.parent / "elsewhere.asn1")
    assert _reason(file_server, device, "file:link.asn1") == ("Access-Reject", "session_file_unreadable")


@pytest.mark.parametrize("keep", [0, 1, 2, 10, 200])
def test_a_truncated_session_file_rejects(
    file_server: FreeRadius, device: Identity, good_session: bytes, keep: int
) -> None:
    _place(file_server, "cut.asn1", good_session[:keep])
    assert _reason(file_server, device, "file:cut.asn1") == ("Access-Reject", "session_file_malformed")


def test_a_session_file_without_a_certificate_rejects(file_server: FreeRadius, device: Identity) -> None:
    body = b"\x02\x01\x01" + b"\x02\x02\x03\x04" + b"\x04\x02\x13\x02" + b"\x04\x00" + b"\x04\x00"
    _place(file_server, "empty.asn1", b"\x30" + _length(len(body)) + body)
    assert _reason(file_server, device, "file:empty.asn1") == ("Access-Reject", "session_without_certificate")


def test_a_session_file_with_garbage_for_a_certificate_rejects(file_server: FreeRadius, device: Identity) -> None:
    body = b"\x02\x01\x01" + b"\xa3\x04\x30\x02\x05\x00"
    _place(file_server, "garbage.asn1", b"\x30" + _length(len(body)) + body)
    assert _reason(file_server, device, "file:garbage.asn1") == ("Access-Reject", "certificate_malformed")


def test_without_the_session_cache_everybody_is_refused(
    folder: Path, dns: tuple[Knot, Unbound], ca: Authority, device: Identity
) -> None:
    server = _server(folder, "no-cache", dns, ca)
    server.prepare()
    eap = server.raddb / "mods-available" / "dane_eap"
    eap.write_text(eap.read_text().replace("enable = yes", "enable = no"))
    with server:
        assert _reason(server, device, "ap-1") == ("Access-Reject", "session_file_missing")


@pytest.fixture(scope="module")
def broken_server(folder: Path, dns: tuple[Knot, Unbound], ca: Authority) -> Iterator[FreeRadius]:
    server = _server(folder, "broken", dns, ca)
    server.prepare()
    libraries = server.folder / "python" / "lib"
    shutil.copy(Path(__file__).with_name("broken_module.py"), libraries / "broken_module.py")
    module = server.raddb / "mods-available" / "dane"
    text = module.read_text().replace("module = dane_radius.rlm_python3", "module = broken_module")
    assert "broken_module" in text
    module.write_text(text)
    with server:
        yield server


@pytest.mark.parametrize(
    "case",
    [
        "raises",
        "none",
        "ok-without-accept",
        "enum-with-accept",
        "true",
        "fail-with-accept",
        "reject-with-accept",
        "list-instead-of-tuple",
    ],
)
def test_a_callback_that_breaks_its_promise_rejects(broken_server: FreeRadius, device: Identity, case: str) -> None:
    result = authenticate(broken_server, _peer(broken_server, device), nas=case)
    assert result.code == "Access-Reject"
    assert not result.accepted
    assert "EAP-Message" in result.attributes
    assert result.attributes["EAP-Message"][0].startswith("04"), "the reject carries no EAP-Failure"
    assert "Vendor-Specific" not in result.attributes, "the reject carries keys"


def test_the_broken_module_can_accept(broken_server: FreeRadius, device: Identity) -> None:
    """The control of the test above."""
    assert authenticate(broken_server, _peer(broken_server, device), nas="honest-accept").accepted


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
    folder: Path,
    dns: tuple[Knot, Unbound],
    ca: Authority,
    file: str,
    text: str,
    said: str,
    request: pytest.FixtureRequest,
) -> None:
    server = _server(folder, f"mistake-{abs(hash(request.node.name))}", dns, ca)
    server.prepare()
    target = server.folder / "etc" / file
    target.write_text(text)
    target.chmod(0o644)
    with pytest.raises(DaemonError, match=said):
        server.start()
    assert file in server.log.read_text()


def test_the_session_folder_is_made_when_it_is_gone(
    folder: Path, dns: tuple[Knot, Unbound], ca: Authority, device: Identity
) -> None:
    """systemd empties a service's folder below /run at each start; cleaners of old files take folders as well."""
    server = _server(folder, "no-session-folder", dns, ca)
    server.prepare()
    user = pwd.getpwnam("freerad")
    # As RuntimeDirectory= makes it.
    os.chown(server.session_dir.parent, user.pw_uid, user.pw_gid)
    shutil.rmtree(server.session_dir)

    def private() -> bool:
        status = server.session_dir.stat()
        return (stat.S_IMODE(status.st_mode), status.st_uid) == (0o700, user.pw_uid)

    with server:
        assert private()
        assert authenticate(server, _peer(server, device)).accepted
        shutil.rmtree(server.session_dir)
        wait_for(server.session_dir.exists, "the session folder to be made again")
        assert private()
        assert authenticate(server, _peer(server, device)).accepted
        wait_for(lambda: "session folder was gone" in server.decision_log.read_text(), "a line in the log")
        server.session_dir.chmod(0o755)
        wait_for(private, "the session folder to be closed to others")


@pytest.mark.parametrize(
    ("found", "said"),
    [("foreign", "belongs to user 0"), ("file", "is no folder"), ("link", "is no folder"), ("nothing", "denied")],
)
def test_a_session_folder_that_cannot_be_used_stops_the_start(
    folder: Path, dns: tuple[Knot, Unbound], ca: Authority, found: str, said: str
) -> None:
    server = _server(folder, f"session-folder-{found}", dns, ca)
    server.prepare()
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


def test_hints_that_the_site_does_not_ask_for_are_missed(
    folder: Path, dns: tuple[Knot, Unbound], ca: Authority, device: Identity
) -> None:
    """`[hint] socket` needs a site that calls the module on the identity: one that an operator edited may not."""
    server = _server(folder, "no-hints", dns, ca)
    server.prepare()
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
            assert authenticate(server, _peer(server, device)).accepted
        wait_for(lambda: "dane-radius install --hint-socket" in server.decision_log.read_text(), "the advice")
    assert server.decision_log.read_text().count("does not ask for hints") == 1


def test_a_reload_changes_nothing(folder: Path, dns: tuple[Knot, Unbound], ca: Authority, device: Identity) -> None:
    """`systemctl reload freeradius` sends SIGHUP: virtual servers are read again, the module stays as it is."""
    server = _server(folder, "reloaded", dns, ca)
    stranger = ca.issue("nobody.camera._device.iot.example")
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
        assert authenticate(server, _peer(server, device)).accepted
        refused = authenticate(server, _peer(server, stranger, "stranger"))
        assert refused.code == "Access-Reject"
        assert server.decision_for(refused.station)["reason"] == "tlsa_absent"
        assert server.decision_log.read_text().count('"event":"started"') == 1


def test_session_files_of_a_killed_server_are_gone_before_the_next_one_answers(
    folder: Path, dns: tuple[Knot, Unbound], ca: Authority
) -> None:
    """They hold TLS secrets, and nobody can use them; where sessions may resume, devices still can."""
    server = _server(folder, "swept", dns, ca)
    server.prepare()
    left, other = server.session_dir / "left.asn1", server.session_dir / "other.txt"
    for path in (left, other):
        path.write_bytes(b"x")
    with server:
        assert not left.exists()
        assert other.exists()
        assert server.metric("dane_radius_session_files_swept_total") == 1


def test_an_unknown_session_survives_nothing_but_its_age(
    folder: Path, dns: tuple[Knot, Unbound], ca: Authority, device: Identity
) -> None:
    """Files of handshakes that never came to a decision are swept, while the server runs."""
    server = _server(folder, "sweep", dns, ca)
    server.prepare()
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


def test_the_server_ends_in_order(folder: Path, dns: tuple[Knot, Unbound], ca: Authority, device: Identity) -> None:
    server = _server(folder, "ends", dns, ca)
    with server:
        assert authenticate(server, _peer(server, device)).accepted
        assert server.control_socket.exists()
        assert server.daemon is not None
        server.daemon.signal(signal.SIGTERM)
        server.daemon.process.wait(15)
        assert server.daemon.process.returncode == 0
    assert not server.control_socket.exists()
    assert '"event":"stopped"' in server.decision_log.read_text()

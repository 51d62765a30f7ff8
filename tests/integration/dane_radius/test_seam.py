"""Whatever breaks between FreeRADIUS and the decision ends in a reject: session files, and the module's callbacks."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.freeradius import FreeRadius
from tests.integration.dane_radius.conftest import OwnServers

pytestmark = pytest.mark.daemons

Outcome = Callable[[FreeRadius, str], tuple[str | None, str]]


@pytest.fixture(scope="module")
def file_server(own_servers: OwnServers) -> Iterator[FreeRadius]:
    """A server whose check site takes the session file's name from a NAS-Identifier that begins with `file:`."""
    server = own_servers.prepare("file-server")
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
def good_session(own_servers: OwnServers) -> bytes:
    """A session file that leads to an accept, made by hand: an SSL_SESSION with the certificate in [3]."""
    certificate = own_servers.device.der
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


@pytest.fixture
def outcome(own_servers: OwnServers) -> Outcome:
    """A function: the server's answer to the device at a NAS, and the reason of its decision."""

    def authenticate(server: FreeRadius, nas: str) -> tuple[str | None, str]:
        result = own_servers.authenticate(server, nas=nas)
        return result.code, str(server.decision_for(result.station)["reason"])

    return authenticate


def test_a_whole_session_file_is_accepted(file_server: FreeRadius, outcome: Outcome, good_session: bytes) -> None:
    """The control of the tests below: the changed site by itself refuses no device."""
    _place(file_server, "good.asn1", good_session)
    assert outcome(file_server, "file:good.asn1") == ("Access-Accept", "dane_match")


def test_a_missing_session_file_rejects(file_server: FreeRadius, outcome: Outcome) -> None:
    assert outcome(file_server, "file:missing.asn1") == ("Access-Reject", "session_file_missing")


def test_no_session_file_name_rejects(file_server: FreeRadius, outcome: Outcome) -> None:
    assert outcome(file_server, "nothing") == ("Access-Reject", "session_file_missing")


def test_an_unreadable_session_file_rejects(file_server: FreeRadius, outcome: Outcome, good_session: bytes) -> None:
    _place(file_server, "foreign.asn1", good_session, owner="root", mode=0o600)
    assert outcome(file_server, "file:foreign.asn1") == ("Access-Reject", "session_file_unreadable")


def test_a_session_file_elsewhere_is_not_read(file_server: FreeRadius, outcome: Outcome, good_session: bytes) -> None:
    _place(file_server, "../elsewhere.asn1", good_session)
    assert outcome(file_server, "file:../elsewhere.asn1") == ("Access-Reject", "session_file_unreadable")


def test_a_link_is_not_followed(file_server: FreeRadius, outcome: Outcome, good_session: bytes) -> None:
    _place(file_server, "../elsewhere.asn1", good_session)
    (file_server.session_dir / "link.asn1").symlink_to(file_server.session_dir.parent / "elsewhere.asn1")
    assert outcome(file_server, "file:link.asn1") == ("Access-Reject", "session_file_unreadable")


@pytest.mark.parametrize("keep", [0, 1, 2, 10, 200])
def test_a_truncated_session_file_rejects(
    file_server: FreeRadius, outcome: Outcome, good_session: bytes, keep: int
) -> None:
    _place(file_server, "cut.asn1", good_session[:keep])
    assert outcome(file_server, "file:cut.asn1") == ("Access-Reject", "session_file_malformed")


def test_a_session_file_without_a_certificate_rejects(file_server: FreeRadius, outcome: Outcome) -> None:
    body = b"\x02\x01\x01" + b"\x02\x02\x03\x04" + b"\x04\x02\x13\x02" + b"\x04\x00" + b"\x04\x00"
    _place(file_server, "empty.asn1", b"\x30" + _length(len(body)) + body)
    assert outcome(file_server, "file:empty.asn1") == ("Access-Reject", "session_without_certificate")


def test_a_session_file_with_garbage_for_a_certificate_rejects(file_server: FreeRadius, outcome: Outcome) -> None:
    body = b"\x02\x01\x01" + b"\xa3\x04\x30\x02\x05\x00"
    _place(file_server, "garbage.asn1", b"\x30" + _length(len(body)) + body)
    assert outcome(file_server, "file:garbage.asn1") == ("Access-Reject", "certificate_malformed")


def test_without_the_session_cache_everybody_is_refused(own_servers: OwnServers, outcome: Outcome) -> None:
    server = own_servers.prepare("no-cache")
    eap = server.raddb / "mods-available" / "dane_eap"
    eap.write_text(eap.read_text().replace("enable = yes", "enable = no"))
    with server:
        assert outcome(server, "ap-1") == ("Access-Reject", "session_file_missing")


@pytest.fixture(scope="module")
def broken_server(own_servers: OwnServers) -> Iterator[FreeRadius]:
    server = own_servers.prepare("broken")
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
def test_a_callback_that_breaks_its_promise_rejects(
    own_servers: OwnServers, broken_server: FreeRadius, case: str
) -> None:
    result = own_servers.authenticate(broken_server, nas=case)
    assert result.code == "Access-Reject"
    assert not result.accepted
    assert "EAP-Message" in result.attributes
    assert result.attributes["EAP-Message"][0].startswith("04"), "the reject carries no EAP-Failure"
    assert "Vendor-Specific" not in result.attributes, "the reject carries keys"


def test_the_broken_module_can_accept(own_servers: OwnServers, broken_server: FreeRadius) -> None:
    """The control of the test above."""
    assert own_servers.authenticate(broken_server, nas="honest-accept").accepted

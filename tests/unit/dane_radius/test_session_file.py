"""The leaf from real OpenSSL sessions, and from malformed and hostile files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dane_radius.core import der
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.server.session_file import (
    MAX_SESSION_OCTETS,
    leaf_from_session,
    read_session_file,
)
from tests.conformance.world import build, ca, leaf
from tests.harness.pki import Identity, authority, self_signed
from tests.harness.tls_session import TLS_1_2, TLS_1_3, server_session
from tests.unit.dane_radius.test_der import tlv

CA = authority("Session CA")
DEVICE = CA.issue("a1._device.example.net")
SERVER = self_signed("radius.example.net")


def session(*peers: bytes) -> bytes:
    """A session with version, cipher, session id, master secret, the given peer elements, and a timeout."""
    fields = [
        tlv(der.INTEGER, b"\1"), tlv(der.INTEGER, b"\3\3"), tlv(der.OCTET_STRING, b"\xc0\x30"),
        tlv(der.OCTET_STRING, b"i" * 32), tlv(der.OCTET_STRING, b"m" * 48), tlv(0xA1, tlv(der.INTEGER, b"\1")),
        *(tlv(0xA3, peer) for peer in peers), tlv(0xA4, tlv(der.OCTET_STRING, b"radius")),
    ]  # fmt: skip
    return tlv(der.SEQUENCE, b"".join(fields))


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("key", ["p256", "p384", "ed25519", "rsa2048"])
def test_the_leaf_is_read_from_a_real_session(tmp_path: Path, version: int, key: str) -> None:
    device: Identity = build((ca("root"), leaf(key=key)))["leaf"]
    data = server_session(tmp_path, SERVER, device, version)
    assert leaf_from_session(data) == device.der


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_a_real_session_without_a_client_certificate_is_refused(tmp_path: Path, version: int) -> None:
    """The server's certificate in it must not be taken for the client's."""
    with pytest.raises(Refused) as caught:
        leaf_from_session(server_session(tmp_path, SERVER, None, version))
    assert caught.value.code is ReasonCode.SESSION_WITHOUT_CERTIFICATE


def test_every_truncation_of_a_real_session_is_refused(tmp_path: Path) -> None:
    data = server_session(tmp_path, SERVER, DEVICE)
    for cut in range(len(data)):
        with pytest.raises(Refused) as caught:
            leaf_from_session(data[:cut])
        assert caught.value.code is ReasonCode.SESSION_FILE_MALFORMED


def test_the_leaf_is_read_from_a_constructed_session() -> None:
    assert leaf_from_session(session(DEVICE.der)) == DEVICE.der


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ReasonCode.SESSION_FILE_MALFORMED),
        (b"\0" * 100, ReasonCode.SESSION_FILE_MALFORMED),
        (b"\x30\x00", ReasonCode.SESSION_WITHOUT_CERTIFICATE),
        (session(), ReasonCode.SESSION_WITHOUT_CERTIFICATE),
        (session(DEVICE.der) + b"\0", ReasonCode.SESSION_FILE_MALFORMED),
        # With two certificates, the one of the handshake would be ambiguous.
        (session(DEVICE.der, SERVER.der), ReasonCode.SESSION_FILE_MALFORMED),
        (session(DEVICE.der, DEVICE.der), ReasonCode.SESSION_FILE_MALFORMED),
        (session(DEVICE.der + SERVER.der), ReasonCode.SESSION_FILE_MALFORMED),
        (session(b""), ReasonCode.SESSION_FILE_MALFORMED),
        (session(b"\x04\x01a"), ReasonCode.SESSION_FILE_MALFORMED),
        (session(DEVICE.der[:-1]), ReasonCode.SESSION_FILE_MALFORMED),
        # The tag inside another element does not count.
        (tlv(der.SEQUENCE, tlv(0xA2, tlv(0xA3, DEVICE.der))), ReasonCode.SESSION_WITHOUT_CERTIFICATE),
        (tlv(der.SEQUENCE, tlv(0x83, DEVICE.der)), ReasonCode.SESSION_WITHOUT_CERTIFICATE),
        (DEVICE.der, ReasonCode.SESSION_WITHOUT_CERTIFICATE),
    ],
)
def test_malformed_sessions_are_refused(data: bytes, code: ReasonCode) -> None:
    with pytest.raises(Refused) as caught:
        leaf_from_session(data)
    assert caught.value.code is code


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_session_gives_a_leaf_or_is_refused(data: st.DataObject) -> None:
    octets = bytearray(session(DEVICE.der))
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = leaf_from_session(bytes(octets))
    except Refused as error:
        refused = error.code
    else:
        assert found in bytes(octets)
        return
    assert refused in (ReasonCode.SESSION_FILE_MALFORMED, ReasonCode.SESSION_WITHOUT_CERTIFICATE)


# --- files -----------------------------------------------------------------------------------------------------------


def saved(folder: Path, data: bytes = b"", mode: int = 0o200) -> str:
    path = folder / "abc.asn1"
    path.write_bytes(data or session(DEVICE.der))
    path.chmod(mode)
    return str(path)


def test_the_owner_reads_a_file_with_mode_0200(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert read_session_file(path, directory=str(tmp_path)) == DEVICE.der
    # The file contains a master secret, so only its owner may read it.
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read_session_file(str(tmp_path / "never.asn1"), directory=str(tmp_path))
    assert caught.value.code is ReasonCode.SESSION_FILE_MISSING


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(Refused, match="persist_dir") as caught:
        read_session_file("")
    assert caught.value.code is ReasonCode.SESSION_FILE_MISSING


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read_session_file(saved(tmp_path, b"\x30" * (MAX_SESSION_OCTETS + 1)))
    assert caught.value.code is ReasonCode.SESSION_FILE_MALFORMED


def test_a_path_outside_the_directory_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "sessions"
    inside.mkdir()
    outside = saved(tmp_path)
    for path in (
        outside,
        f"{inside}/../abc.asn1",
        f"{inside}/deeper/abc.asn1",
        "abc.asn1",
        f"{inside}/..",
        f"{inside}/",
    ):
        with pytest.raises(Refused) as caught:
            read_session_file(path, directory=str(inside))
        assert caught.value.code is ReasonCode.SESSION_FILE_UNREADABLE
    assert Path(outside).exists()
    assert stat.S_IMODE(os.stat(outside).st_mode) == 0o200
    assert stat.S_IMODE(os.stat(tmp_path).st_mode) & 0o100


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(session(DEVICE.der))
    inside = tmp_path / "sessions"
    inside.mkdir()
    (inside / "abc.asn1").symlink_to(target)
    with pytest.raises(Refused) as caught:
        read_session_file(str(inside / "abc.asn1"), directory=str(inside))
    assert caught.value.code is ReasonCode.SESSION_FILE_UNREADABLE
    assert target.read_bytes() == session(DEVICE.der)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "abc.asn1").mkdir()
    with pytest.raises(Refused) as caught:
        read_session_file(str(tmp_path / "abc.asn1"))
    assert caught.value.code is ReasonCode.SESSION_FILE_UNREADABLE


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "abc.asn1")
    with pytest.raises(Refused) as caught:
        read_session_file(str(tmp_path / "abc.asn1"))
    assert caught.value.code is ReasonCode.SESSION_FILE_MALFORMED

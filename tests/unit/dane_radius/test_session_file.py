"""The leaf out of real OpenSSL sessions, and out of files that somebody else made."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dane_radius.core import der
from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.server.session_file import (
    MAX_SESSION_OCTETS,
    _read_leaf,
    _usual_leaf,
    leaf_from_session,
    read_resumed,
    read_session_file,
    to_store,
)
from dane_radius.server.session_folder import remove_session, sweep_sessions
from tests.conformance.world import build, ca, leaf
from tests.harness.pki import Identity, authority, self_signed
from tests.harness.tls_session import TLS_1_2, TLS_1_3, server_session
from tests.unit.dane_radius.test_der import tlv

CA = authority("Session CA")
DEVICE = CA.issue("a1._device.example.net")
SERVER = self_signed("radius.example.net")


def session(*peers: bytes) -> bytes:
    """By hand: version, cipher, session ID, master secret, then the peer elements given, then a time-out."""
    fields = [
        tlv(der.INTEGER, b"\1"), tlv(der.INTEGER, b"\3\3"), tlv(der.OCTET_STRING, b"\xc0\x30"),
        tlv(der.OCTET_STRING, b"i" * 32), tlv(der.OCTET_STRING, b"m" * 48), tlv(0xA1, tlv(der.INTEGER, b"\1")),
        *(tlv(0xA3, peer) for peer in peers), tlv(0xA4, tlv(der.OCTET_STRING, b"radius")),
    ]  # fmt: skip
    return tlv(der.SEQUENCE, b"".join(fields))


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
@pytest.mark.parametrize("key", ["p256", "p384", "ed25519", "rsa2048"])
def test_real_sessions(tmp_path: Path, version: int, key: str) -> None:
    device: Identity = build((ca("root"), leaf(key=key)))["leaf"]
    data = server_session(tmp_path, SERVER, device, version)
    assert leaf_from_session(data) == device.der
    # Neither of the two readers is idle.
    assert _usual_leaf(data) == _read_leaf(data) == device.der


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
def test_real_sessions_without_a_client_certificate(tmp_path: Path, version: int) -> None:
    """The server's own certificate is not the client's."""
    with pytest.raises(Refused) as caught:
        leaf_from_session(server_session(tmp_path, SERVER, None, version))
    assert caught.value.code is ReasonCode.SESSION_WITHOUT_CERTIFICATE


def test_every_cut_of_a_real_session_is_refused(tmp_path: Path) -> None:
    data = server_session(tmp_path, SERVER, DEVICE)
    for cut in range(len(data)):
        with pytest.raises(Refused) as caught:
            leaf_from_session(data[:cut])
        assert caught.value.code is ReasonCode.SESSION_FILE_MALFORMED


def test_by_hand() -> None:
    assert leaf_from_session(session(DEVICE.der)) == DEVICE.der


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ReasonCode.SESSION_FILE_MALFORMED),
        (b"\0" * 100, ReasonCode.SESSION_FILE_MALFORMED),
        (b"\x30\x00", ReasonCode.SESSION_WITHOUT_CERTIFICATE),
        (session(), ReasonCode.SESSION_WITHOUT_CERTIFICATE),
        (session(DEVICE.der) + b"\0", ReasonCode.SESSION_FILE_MALFORMED),
        # Two certificates: which one was on the line?
        (session(DEVICE.der, SERVER.der), ReasonCode.SESSION_FILE_MALFORMED),
        (session(DEVICE.der, DEVICE.der), ReasonCode.SESSION_FILE_MALFORMED),
        (session(DEVICE.der + SERVER.der), ReasonCode.SESSION_FILE_MALFORMED),
        (session(b""), ReasonCode.SESSION_FILE_MALFORMED),
        (session(b"\x04\x01a"), ReasonCode.SESSION_FILE_MALFORMED),
        (session(DEVICE.der[:-1]), ReasonCode.SESSION_FILE_MALFORMED),
        # The tag inside of another element is not the session's own.
        (tlv(der.SEQUENCE, tlv(0xA2, tlv(0xA3, DEVICE.der))), ReasonCode.SESSION_WITHOUT_CERTIFICATE),
        (tlv(der.SEQUENCE, tlv(0x83, DEVICE.der)), ReasonCode.SESSION_WITHOUT_CERTIFICATE),
        (DEVICE.der, ReasonCode.SESSION_WITHOUT_CERTIFICATE),
    ],
)
def test_refuses(data: bytes, code: ReasonCode) -> None:
    with pytest.raises(Refused) as caught:
        leaf_from_session(data)
    assert caught.value.code is code


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_sessions_give_a_leaf_or_are_refused(data: st.DataObject) -> None:
    octets = bytearray(session(DEVICE.der))
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    usual = _usual_leaf(bytes(octets))
    try:
        found = leaf_from_session(bytes(octets))
    except Refused as error:
        refused = error.code
    else:
        assert found in bytes(octets)
        assert usual in (None, _read_leaf(bytes(octets)))
        return
    assert refused in (ReasonCode.SESSION_FILE_MALFORMED, ReasonCode.SESSION_WITHOUT_CERTIFICATE)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_the_quick_reader_finds_what_the_strict_one_finds(data: st.DataObject) -> None:
    """Or nothing: sessions of well-formed and not so well-formed elements, with zero, one or two certificates."""
    certificate = DEVICE.der
    pieces = st.sampled_from(
        [
            certificate, tlv(0xA3, certificate), tlv(0xA3, certificate[:-1]), tlv(0xA3, b"\x30\x03abc"),
            tlv(0xA4, b"x" * 127), tlv(0xA6, b"y" * 128), tlv(0xBF, b"z"), b"\xbf\x1f\x00", b"\x02\x01\x01",
            b"\x04\x81\x01a", b"\x30\x80", b"\xa3\x82\x01", b"\xa3\x00", b"\xa3\x82\x00\x05\x30\x82\x00\x01a", b"",
        ]
    )  # fmt: skip
    body = b"".join(data.draw(st.lists(pieces, max_size=6)))
    octets = tlv(der.SEQUENCE, body)
    usual = _usual_leaf(octets)
    if usual is not None:
        assert usual == _read_leaf(octets)


# --- files -----------------------------------------------------------------------------------------------------------


def saved(folder: Path, data: bytes = b"", mode: int = 0o200) -> str:
    path = folder / "abc.asn1"
    path.write_bytes(data or session(DEVICE.der))
    path.chmod(mode)
    return str(path)


def test_the_file_is_read_though_its_mode_forbids_it(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert read_session_file(path, directory=str(tmp_path)) == DEVICE.der
    # It holds a master secret: ours alone, before and after.
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read_session_file(str(tmp_path / "never.asn1"), directory=str(tmp_path))
    assert caught.value.code is ReasonCode.SESSION_FILE_MISSING


def test_without_a_path() -> None:
    with pytest.raises(Refused, match="persist_dir") as caught:
        read_session_file("")
    assert caught.value.code is ReasonCode.SESSION_FILE_MISSING


def test_too_large(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read_session_file(saved(tmp_path, b"\x30" * (MAX_SESSION_OCTETS + 1)))
    assert caught.value.code is ReasonCode.SESSION_FILE_MALFORMED


def test_outside_of_the_directory(tmp_path: Path) -> None:
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


def test_a_folder_is_no_session(tmp_path: Path) -> None:
    (tmp_path / "abc.asn1").mkdir()
    with pytest.raises(Refused) as caught:
        read_session_file(str(tmp_path / "abc.asn1"))
    assert caught.value.code is ReasonCode.SESSION_FILE_UNREADABLE


def test_a_fifo_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "abc.asn1")
    with pytest.raises(Refused) as caught:
        read_session_file(str(tmp_path / "abc.asn1"))
    assert caught.value.code is ReasonCode.SESSION_FILE_MALFORMED


# --- resumption ------------------------------------------------------------------------------------------------------


def test_a_resumed_session_gives_the_leaf_of_the_full_handshake(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert read_resumed(to_store(DEVICE.fingerprint, path), directory=str(tmp_path)) == DEVICE.der


def test_a_session_file_that_is_gone_resumes_nothing(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read_resumed(to_store(DEVICE.fingerprint, str(tmp_path / "gone.asn1")), directory=str(tmp_path))
    assert caught.value.code is ReasonCode.RESUMPTION_DATA_MISSING


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "dane1",
        "dane2 {fingerprint} {path}",
        "dane1 {fingerprint} {path} ",
        "dane1 {fingerprint} {path}\n",
        "dane1 {fingerprint}  {path}",
        "dane1 {fingerprint} abc.asn1",
        "dane1 {fingerprint} {folder}/../abc.asn1",
        "dane1 {fingerprint} {folder}/..",
        "dane1 {fingerprint} /etc/passwd",
        "dane1 {FINGERPRINT} {path}",
        "dane1 {zeros} {path}",
        "dane1 ab {path}",
        "user-defined policy",
    ],
)
def test_stored_data_that_does_not_verify(tmp_path: Path, stored: str) -> None:
    text = stored.format(
        fingerprint=DEVICE.fingerprint,
        FINGERPRINT=DEVICE.fingerprint.upper(),
        zeros="0" * 64,
        path=saved(tmp_path),
        folder=tmp_path,
    )
    with pytest.raises(Refused) as caught:
        read_resumed(text, directory=str(tmp_path))
    assert caught.value.code is ReasonCode.RESUMPTION_DATA_INVALID


@pytest.mark.parametrize("data", [b"garbage", session(), session(SERVER.der)])
def test_a_session_file_with_something_else_in_it(tmp_path: Path, data: bytes) -> None:
    path = saved(tmp_path, data)
    with pytest.raises(Refused) as caught:
        read_resumed(to_store(DEVICE.fingerprint, path), directory=str(tmp_path))
    assert caught.value.code is ReasonCode.RESUMPTION_DATA_INVALID


def test_files_that_nobody_can_resume_go_before_the_others(tmp_path: Path) -> None:
    """FreeRADIUS writes no `.vps` for a session that was itself resumed: its ticket is refused."""
    now = time.time()
    ages = {"pair": 600, "alone": 600, "young": 60, "old": 4000, "strange": 9000}
    for name, age in ages.items():
        suffixes = [".asn1", ".vps"] if name in ("pair", "old") else [".asn1"] if name != "strange" else [".txt"]
        for suffix in suffixes:
            path = tmp_path / f"{name}{suffix}"
            path.touch()
            os.utime(path, (now - age, now - age))
    assert sweep_sessions(str(tmp_path), 3600) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pair.asn1", "pair.vps", "strange.txt", "young.asn1"]
    # Without resumption, the limit is short for all.
    assert sweep_sessions(str(tmp_path), 30) == 3
    remove_session(str(tmp_path / "never.asn1"))


def test_a_session_is_removed_with_both_its_files(tmp_path: Path) -> None:
    for name in ("a.asn1", "a.vps", "b.asn1"):
        (tmp_path / name).touch()
    remove_session(str(tmp_path / "a.asn1"))
    assert [path.name for path in tmp_path.iterdir()] == ["b.asn1"]

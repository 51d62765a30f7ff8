"""Resumed sessions: the certificate of the full handshake is found, or the session is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dane_radius.core.reasons import ReasonCode, Refused
from dane_radius.server.resumption import ResumableSessions, encode_reference, read_resumed
from tests.unit.dane_radius.test_session_file import DEVICE, SERVER, saved, session


def test_a_resumed_session_gives_the_leaf_of_the_full_handshake(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert read_resumed(encode_reference(DEVICE.fingerprint, path), directory=str(tmp_path)) == DEVICE.der


def test_a_missing_session_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read_resumed(encode_reference(DEVICE.fingerprint, str(tmp_path / "gone.asn1")), directory=str(tmp_path))
    assert caught.value.code is ReasonCode.RESUMPTION_DATA_MISSING


@pytest.mark.parametrize(
    "reference",
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
def test_invalid_references_are_refused(tmp_path: Path, reference: str) -> None:
    text = reference.format(
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
def test_a_session_file_with_other_contents_is_refused(tmp_path: Path, data: bytes) -> None:
    path = saved(tmp_path, data)
    with pytest.raises(Refused) as caught:
        read_resumed(encode_reference(DEVICE.fingerprint, path), directory=str(tmp_path))
    assert caught.value.code is ReasonCode.RESUMPTION_DATA_INVALID


def test_a_superseded_session_file_is_returned_for_removal_once() -> None:
    sessions = ResumableSessions()
    assert sessions.add("a" * 64, "/sessions/1.asn1") == encode_reference("a" * 64, "/sessions/1.asn1")
    sessions.add("b" * 64, "/sessions/2.asn1")
    assert sessions.take_superseded() == []
    sessions.add("a" * 64, "/sessions/3.asn1")
    # The same file again supersedes nothing.
    sessions.add("a" * 64, "/sessions/3.asn1")
    assert sessions.take_superseded() == ["/sessions/1.asn1"]
    assert sessions.take_superseded() == []

"""COMPUTE SIGNATURE and VERIFY SIGNATURE in each mode, with each hash, in one update and in many."""

from __future__ import annotations

import hashlib

import pytest

from iot_safe_sim.interface import encode_tlv
from iot_safe_sim.middleware import IoTSafeClient
from tests.unit.iot_safe_sim.support import Terminal, key_pair, raw_signature, signature_is_valid

HASHES = [("0001", "sha256"), ("0002", "sha384"), ("0004", "sha512")]
TEXT = bytes(index * 7 & 0xFF for index in range(1000))


def init(ins: str, mode: str, number: str, key: str = "840101") -> str:
    return f"00 {ins} 0001 0D {key} A101{mode} 9102{number} 920104"


def command(ins: str, p1: str, data: bytes, le: str = "") -> str:
    return f"00 {ins} {p1} 01 {len(data):02X} {data.hex()} {le}"


def signature(answer: str) -> bytes:
    assert answer.startswith("330040"), answer
    assert answer.endswith("9000"), answer
    return bytes.fromhex(answer[6:-4])


@pytest.fixture
def point(provisioned: IoTSafeClient) -> bytes:
    return provisioned.public_key(b"\x01")


@pytest.mark.parametrize(("number", "name"), HASHES)
class TestSignatureModes:
    def test_external_hash(self, terminal: Terminal, point: bytes, number: str, name: str) -> None:
        digest = hashlib.new(name, TEXT).digest()
        assert terminal.send(init("2A", "03", number)) == "9000"
        answer = terminal.send(command("2B", "80", encode_tlv(0x9E, digest), "00"))
        assert signature_is_valid(point, digest, signature(answer))

    @pytest.mark.parametrize(
        ("form", "length"),
        [
            *(("short", length) for length in (0, 1, 100, 127)),
            *(("81", length) for length in (0, 1, 100, 127, 128, 252)),
            *(("82", length) for length in (0, 1, 100, 127, 128, 251)),
        ],
    )
    def test_full_text_in_one_command(
        self, terminal: Terminal, point: bytes, number: str, name: str, form: str, length: int
    ) -> None:
        prefix = {"short": bytes([length]), "81": bytes([0x81, length]), "82": bytes([0x82, 0, length])}[form]
        assert terminal.send(init("2A", "01", number)) == "9000"
        answer = terminal.send(command("2B", "80", b"\x9b" + prefix + TEXT[:length], "00"))
        assert signature_is_valid(point, hashlib.new(name, TEXT[:length]).digest(), signature(answer))

    @pytest.mark.parametrize("piece", [1, 7, 100, 255])
    def test_full_text_over_many_commands_with_one_header(
        self, terminal: Terminal, point: bytes, number: str, name: str, piece: int
    ) -> None:
        text = TEXT if piece > 7 else TEXT[:30]
        data = encode_tlv(0x9B, text)
        pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
        if piece == 1:
            pieces = [data[:3], *(bytes([byte]) for byte in data[3:])]
        assert terminal.send(init("2A", "01", number)) == "9000"
        for part in pieces[:-1]:
            assert terminal.send(command("2B", "00", part)) == "9000"
        answer = terminal.send(command("2B", "80", pieces[-1], "00"))
        assert signature_is_valid(point, hashlib.new(name, text).digest(), signature(answer))

    def test_full_text_with_a_header_in_each_command(
        self, terminal: Terminal, point: bytes, number: str, name: str
    ) -> None:
        assert terminal.send(init("2A", "01", number)) == "9000"
        for start in range(0, 800, 200):
            assert terminal.send(command("2B", "00", encode_tlv(0x9B, TEXT[start : start + 200]))) == "9000"
        answer = terminal.send(command("2B", "80", encode_tlv(0x9B, TEXT[800:]), "00"))
        assert signature_is_valid(point, hashlib.new(name, TEXT).digest(), signature(answer))

    def test_verification_in_each_mode(self, terminal: Terminal, client: IoTSafeClient, number: str, name: str) -> None:
        peer, peer_point = key_pair()
        client.put_public_key(b"\x05", peer_point)
        digest = hashlib.new(name, TEXT[:100]).digest()
        right = encode_tlv(0x33, raw_signature(peer, digest))
        wrong = encode_tlv(0x33, raw_signature(peer, hashlib.new(name, b"other").digest()))
        bodies = {
            "01": encode_tlv(0x9B, TEXT[:100]),
            "03": encode_tlv(0x9E, digest),
        }
        for mode, body in bodies.items():
            for reference, status in ((right, "9000"), (wrong, "6D01")):
                assert terminal.send(init("2C", mode, number, "850105")) == "9000"
                assert terminal.send(command("2D", "80", body + reference)) == status
                assert terminal.send(command("2D", "80", body + reference)) == "6985"


def test_own_public_half_can_verify(terminal: Terminal, provisioned: IoTSafeClient) -> None:
    digest = hashlib.sha256(b"x").digest()
    signed = provisioned.sign_digest(b"\x01", digest)
    assert provisioned.verify_digest(b"\x01", digest, signed)
    assert not provisioned.verify_digest(b"\x01", hashlib.sha256(b"y").digest(), signed)


@pytest.mark.parametrize("number", ["0001", "0002", "0004"])
@pytest.mark.parametrize(("ins", "key"), [("2A", "840101"), ("2C", "850101")])
def test_last_block_mode_is_refused_when_the_session_is_opened(
    terminal: Terminal, point: bytes, ins: str, key: str, number: str
) -> None:
    """The client would hash all but the last block (mode 02). Such a session is never open."""
    assert terminal.send(init(ins, "02", number, key)) == "6A80"
    assert "02 (last block) is not offered" in terminal.applet.last_detail
    data = encode_tlv(0x9A, b"rest") + encode_tlv(0x9C, bytes(32)) + encode_tlv(0x9D, (64).to_bytes(4, "big"))
    following = {"2A": "2B", "2C": "2D"}[ins]
    assert terminal.send(command(following, "80", data, "00")) == "6985"


def test_last_block_fields_do_not_fit_another_mode(terminal: Terminal, point: bytes) -> None:
    data = encode_tlv(0x9A, b"rest") + encode_tlv(0x9C, bytes(32)) + encode_tlv(0x9D, (64).to_bytes(4, "big"))
    for mode in ("01", "03"):
        assert terminal.send(init("2A", mode, "0001")) == "9000"
        assert terminal.send(command("2B", "80", data, "00")) == "6A80"

"""What wolfSSL's IoT SAFE port sends, byte for byte, on both key stores: CLA 81, channel 1 never opened, no Le."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.card import Card
from iot_safe_sim.interface import public_key
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.unit.iot_safe_sim.support import Terminal, key_pair, raw_signature, signature_is_valid

DIGEST = hashlib.sha256(b"handshake").digest()
H = DIGEST.hex()


@pytest.fixture
def wolf(card: Card) -> Terminal:
    IoTSafeClient(MemoryTransport(card.applet)).create_key(b"\x01")
    terminal = Terminal(card.applet)
    assert terminal.send("01 A4 0400 07 A0000005590010") == "9000"
    return terminal


def test_random_has_exactly_the_length_asked_for(wolf: Terminal) -> None:
    answers = {wolf.send("81 84 0000 34") for _ in range(20)}
    assert all(len(answer) == 2 * (0x34 + 2) or answer == "6134" for answer in answers)
    assert len(answers) > 10


def test_key_generation_answers_with_identifiers_and_key(wolf: Terminal) -> None:
    answer = wolf.collect("81 B9 0000 03 840104", "01C00000")
    assert answer.startswith("840104 850104 3445 4943 8641 04".replace(" ", ""))
    assert answer.endswith("9000")
    assert len(answer) == 2 * (0x4D + 2)
    point = bytes.fromhex(answer[2 * 12 : 2 * 77])
    public_key(point)
    read = wolf.collect("81 CD 0000 03 850104", "01C00000")
    assert read == "3445494386 41".replace(" ", "") + point.hex().upper() + "9000"
    assert len(read) == 2 * (0x47 + 2)


def test_signature_carries_a_16_bit_length(wolf: Terminal, card: Card) -> None:
    assert wolf.send("81 2A 0001 0D 840101 A10103 91020001 920104") == "9000"
    answer = wolf.collect(f"81 2B 8001 22 9E20 {H}", "01C00000")
    assert answer.startswith("330040")
    assert answer.endswith("9000")
    point = card.applet.store.private_keys[b"\x01"].public
    assert point is not None
    assert signature_is_valid(point, DIGEST, bytes.fromhex(answer[6:-4]))
    assert wolf.send("81 2A 0101 00") == "9000"
    assert wolf.send("81 2A 0101 00") == "6985"


def test_put_public_key_and_verify(wolf: Terminal) -> None:
    peer, point = key_pair()
    assert wolf.send("81 24 0002 03 850105") == "9000"
    assert wolf.send(f"81 D8 8002 47 3445 4943 8641 {point.hex()}") == "9000"
    assert wolf.send("81 24 0102 00") == "9000"

    signature = raw_signature(peer, DIGEST)
    for length in ("330040", "3340"):
        assert wolf.send("81 2C 0001 0D 850105 A10103 91020001 920104") == "9000"
        body = f"9E20{H}{length}{signature.hex()}"
        assert wolf.send(f"81 2D 8001 {len(body) // 2:02X} {body}") == "9000"
        assert wolf.send("81 2C 0101 00") == "9000"

    for bit in (0, 255, 256, 511):
        damaged = bytearray(signature)
        damaged[bit // 8] ^= 1 << bit % 8
        assert wolf.send("81 2C 0001 0D 850105 A10103 91020001 920104") == "9000"
        assert wolf.send(f"81 2D 8001 65 9E20 {H} 330040 {damaged.hex()}") == "6D01"
        assert wolf.send("81 2C 0101 00") == "9000"
    other = hashlib.sha256(b"another handshake").hexdigest()
    assert wolf.send("81 2C 0001 0D 850105 A10103 91020001 920104") == "9000"
    assert wolf.send(f"81 2D 8001 65 9E20 {other} 330040 {signature.hex()}") == "6D01"


def test_shared_secret_is_the_bare_x_coordinate(wolf: Terminal) -> None:
    peer, point = key_pair()
    generated = wolf.collect("81 B9 0000 03 840104", "01C00000")
    assert wolf.send("81 24 0002 03 850105") == "9000"
    assert wolf.send(f"81 D8 8002 47 3445 4943 8641 {point.hex()}") == "9000"
    assert wolf.send("81 24 0102 00") == "9000"
    answer = wolf.send("81 46 0000 06 840104 850105")
    answer = wolf.send("01C0000020") if answer == "6120" else answer
    own = public_key(bytes.fromhex(generated[24:-4]))
    assert answer == peer.exchange(ec.ECDH(), own).hex().upper() + "9000"


def test_hkdf_extract_is_the_bare_key(wolf: Terminal) -> None:
    ikm, salt = bytes(range(32)), bytes(range(32, 64))
    answer = wolf.collect(f"81 4A 0000 48 D120 {ikm.hex()} D520 {salt.hex()} 91020001", "01C00000")
    assert answer == hmac.digest(salt, ikm, "sha256").hex().upper() + "9000"


def test_files_by_get_data_and_read(wolf: Terminal, card: Card) -> None:
    content = bytes(range(256)) + b"\x61" * 300
    IoTSafeClient(MemoryTransport(card.applet)).write_file(b"\x02", content)
    described = wolf.collect("81 CB C300 03 830102", "01C00000")
    assert described == f"C310 830102 600101 4A0101 210102 2002{len(content):04X} 9000".replace(" ", "")
    read = b""
    while len(read) < len(content):
        answer = wolf.collect(f"81 B0 {len(read) >> 8:02X} {len(read) & 255:02X} 03 830102", "01C00000")
        assert answer.endswith("9000")
        read += bytes.fromhex(answer[:-4])
    assert read[: len(content)] == content
    assert not read[len(content) :].strip(b"\0")


def test_a_signature_of_another_key_does_not_pass(wolf: Terminal, card: Card) -> None:
    """The check of signatures in these tests can fail."""
    assert wolf.send("81 2A 0001 0D 840101 A10103 91020001 920104") == "9000"
    answer = wolf.collect(f"81 2B 8001 22 9E20 {H}", "01C00000")
    assert not signature_is_valid(key_pair()[1], DIGEST, bytes.fromhex(answer[6:-4]))

"""What the Thales / CIRA middleware sends, byte for byte, on both key stores: CLA 00, opened channels, Le 00."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.card import Card
from iot_safe_sim.interface import public_key
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.unit.iot_safe_sim.support import Terminal, key_pair, signature_is_valid

SELECT = "A4 0400 07 A0000002480400"
DIGEST = hashlib.sha256(b"to be signed").digest()


@pytest.fixture
def thales(card: Card) -> Terminal:
    IoTSafeClient(MemoryTransport(card.applet)).create_key(b"\x01")
    terminal = Terminal(card.applet)
    assert terminal.send("00" + SELECT) == "9000"
    return terminal


def test_channel_is_opened_used_and_closed(thales: Terminal) -> None:
    assert thales.send("0070000001") == "01 9000"
    assert thales.send("01" + SELECT) == "9000"
    answer = thales.send("01 84 0000 20")
    assert len(answer) == 68 or answer == "6120"
    assert thales.send("0170800100") == "9000"
    assert thales.send("0184000020") == "6985"


def test_channel_is_closed_again_when_select_fails(thales: Terminal) -> None:
    assert thales.send("0070000001") == "01 9000"
    assert thales.send("01 A4 0400 07 A0000002480401") == "6A82"
    assert thales.send("00708001") == "9000"
    assert thales.send("0070000001") == "01 9000"


def test_channel_is_closed_from_the_basic_channel_and_opened_with_le_00(thales: Terminal) -> None:
    assert thales.send("0070000000") == "01 9000"
    assert thales.send("0070000000") == "02 9000"
    assert thales.send("0070800100") == "9000"
    assert thales.send("0070000000") == "01 9000"


@pytest.mark.parametrize("cla", ["00", "01"])
def test_random(thales: Terminal, cla: str) -> None:
    assert thales.send(cla + SELECT) == "9000"
    answers = [thales.send(f"{cla} 84 0000 20") for _ in range(10)]
    assert all(len(answer) == 68 or answer == "6120" for answer in answers)


def test_key_generation_put_public_key_and_dh(thales: Terminal) -> None:
    generated = thales.send("00 B9 0000 03 840104 00")
    assert generated.startswith("840104 850104 3445 4943 8641 04".replace(" ", ""))
    assert len(generated) == 2 * (0x4D + 2)
    peer, point = key_pair()
    assert thales.send("00 24 0000 03 850105 00") == "9000"
    assert thales.send(f"00 D8 8000 47 3445 4943 8641 {point.hex()} 00") == "9000"
    # The session is never closed. The next INIT succeeds all the same.
    assert thales.send("00 24 0000 03 850105 00") == "9000"
    assert thales.send(f"00 D8 8000 47 3445 4943 8641 {point.hex()} 00") == "9000"
    secret = peer.exchange(ec.ECDH(), public_key(bytes.fromhex(generated[24:-4])))
    answer = thales.send("00 46 0000 06 840104 850105 00")
    answer = thales.send("00C0000020") if answer == "6120" else answer
    assert answer == secret.hex().upper() + "9000"


def test_signature_carries_an_8_bit_length_and_sessions_are_reopened(thales: Terminal, card: Card) -> None:
    point = card.applet.store.private_keys[b"\x01"].public
    assert point is not None
    for _ in range(3):
        assert thales.send("00 2A 0000 0D 840101 A10103 91020001 920104") == "9000"
        answer = thales.send(f"00 2B 8000 22 9E20 {DIGEST.hex()} 00")
        assert answer.startswith("3340")
        assert answer.endswith("9000")
        assert signature_is_valid(point, DIGEST, bytes.fromhex(answer[4:-4]))


def test_closing_sessions_that_are_not_open_is_harmless(thales: Terminal) -> None:
    for session in range(6):
        assert thales.send(f"00 2A 01 {session:02X} 00") == "6985"
    assert thales.send("00 2A 0000 0D 840101 A10103 91020001 920104") == "9000"


def test_prf_gives_255_bytes(thales: Terminal) -> None:
    secret, seed = bytes(range(32)), b"extended master secret" + bytes(range(100, 132))
    body = f"D120{secret.hex()}D2{len(seed):02X}{seed.hex()}D301FF"
    answer = thales.send(f"00 48 0000 {len(body) // 2:02X} {body} 00")
    answer = thales.send("00C00000FF") if answer == "61FF" else answer
    expected, link = b"", seed
    while len(expected) < 255:
        link = hmac.new(secret, link, "sha256").digest()
        expected += hmac.new(secret, link + seed, "sha256").digest()
    assert answer == expected[:255].hex().upper() + "9000"


def test_reader_that_ignores_the_size_gets_zeros_to_its_limit(thales: Terminal, card: Card) -> None:
    """Offsets 0, 255, ... while offset + 255 < 2048, SELECT before the file, Le 00."""
    content = bytes(range(1, 200)) * 3
    IoTSafeClient(MemoryTransport(card.applet)).write_file(b"\x02", content)
    assert thales.send("0070000001") == "01 9000"
    assert thales.send("01" + SELECT) == "9000"
    read = b""
    while len(read) + 255 < 2048:
        answer = thales.send(f"01 B0 {len(read) >> 8:02X} {len(read) & 255:02X} 03 830102 00")
        if answer.startswith("61") and len(answer) == 4:
            answer = thales.send("01C00000" + answer[2:])
        assert answer.endswith("9000")
        assert 0 < len(answer) // 2 - 2 <= 255
        read += bytes.fromhex(answer[:-4])
    assert len(read) + 255 >= 2048
    assert read.rstrip(b"\0") == content


@pytest.mark.parametrize("aid", ["07A0000002480400", "0FA00000003053F12401770101495341"])
def test_both_thales_aids_get_the_short_form(card: Card, aid: str) -> None:
    IoTSafeClient(MemoryTransport(card.applet)).create_key(b"\x01")
    terminal = Terminal(card.applet)
    assert terminal.send(f"00A40400{len(aid) // 2 - 1:02X}{aid[2:]}") == "9000"
    assert terminal.send("00 2A 0000 0D 840101 A10103 91020001 920104") == "9000"
    assert terminal.send(f"00 2B 8000 22 9E20 {DIGEST.hex()} 00").startswith("3340")

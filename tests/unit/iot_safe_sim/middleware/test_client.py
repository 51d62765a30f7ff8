"""The middleware against the applet, and against cards that misbehave."""

from __future__ import annotations

import hashlib

import pytest

from iot_safe_sim.card import Applet
from iot_safe_sim.interface import GSMA_AID, THALES_AID, THALES_AID_2025, containers
from iot_safe_sim.middleware import (
    CardError,
    CommandFailedError,
    FileInfo,
    IoTSafeClient,
    MemoryTransport,
    SerialTransport,
    TransportError,
)


@pytest.mark.parametrize("aid", [GSMA_AID, THALES_AID, THALES_AID_2025])
def test_works_with_each_aid_and_on_an_opened_channel(applet: Applet, aid: bytes) -> None:
    transport = MemoryTransport(applet)
    IoTSafeClient(transport).create_key(containers.DEVICE_KEY)
    for channel in (0, IoTSafeClient.open_channel(transport)):
        client = IoTSafeClient(transport, aid=aid, channel=channel)
        assert len({client.random(600) for _ in range(3)}) == 3
        digest = hashlib.sha256(b"data").digest()
        signature = client.sign(containers.DEVICE_KEY, b"data")
        assert client.verify_digest(containers.DEVICE_KEY, digest, signature)
        client.close_channel()
    with pytest.raises(CommandFailedError, match="6985"):
        client.random(1)


def test_files(client: IoTSafeClient) -> None:
    client.write_file(containers.ROOT_CA, bytes(range(256)) * 5)
    assert client.file_info(containers.ROOT_CA) == FileInfo(1280, True, 2)
    assert client.read_file(containers.ROOT_CA) == bytes(range(256)) * 5
    assert client.read_file(containers.ISSUING_CA) == b""


class Scripted:
    """A card with prepared responses."""

    def __init__(self, *answers: str) -> None:
        self._answers = [bytes.fromhex(answer) for answer in answers]
        self.commands: list[str] = []

    def transmit(self, apdu: bytes) -> bytes:
        self.commands.append(apdu.hex().upper())
        return self._answers.pop(0)


def test_a_card_that_wants_another_le_or_gives_data_in_pieces() -> None:
    card = Scripted("9000", "6C05", "AABB6103", "CC6102", "DDEE9000")
    assert IoTSafeClient(card).random(5) == bytes.fromhex("AABBCCDDEE")
    assert card.commands[2:] == ["0084000005", "00C0000003", "00C0000002"]


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (["6A82"], CommandFailedError),
        (["9000", "90"], TransportError),
        (["9000", "9000"], CardError),
        (["9000", "34059000"], CardError),
        (["9000", "3445 4943 8641 04" + "00" * 64 + "9000"], CardError),
        (["9000", "FFFF"], CommandFailedError),
    ],
)
def test_an_invalid_response_of_the_card_is_an_error(answers: list[str], error: type[Exception]) -> None:
    card = Scripted(*answers)
    with pytest.raises(error):
        IoTSafeClient(card).public_key(b"\x01")


def test_a_file_that_stops_early_is_an_error_not_an_endless_loop() -> None:
    card = Scripted("9000", "C310830102600101 4A0101 210102 20020010 9000".replace(" ", ""), "9000")
    with pytest.raises(CardError, match="stops at byte 0 of 16"):
        IoTSafeClient(card).read_file(b"\x02")


def test_no_port_and_no_modem(tmp_path: object) -> None:
    with pytest.raises(TransportError, match="No such file"):
        SerialTransport(f"{tmp_path}/none")
    with pytest.raises(TransportError, match="not a modem"):
        SerialTransport("/dev/null")

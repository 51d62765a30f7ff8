"""STORE DATA: create, update, delete and move objects. A refused command changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from iot_safe_sim.card import Applet
from iot_safe_sim.card.objects import MAX_FILE_SIZE, MAX_OBJECTS
from iot_safe_sim.interface import containers, encode_tlv
from iot_safe_sim.middleware import CommandFailedError, IoTSafeClient, MemoryTransport
from tests.unit.iot_safe_sim.support import Terminal

NAME = "a1b2c3.camera._device.example.net"


def test_files_are_created_updated_emptied_and_deleted(client: IoTSafeClient, terminal: Terminal) -> None:
    for content in (b"x", b"y" * 1000, b"z" * MAX_FILE_SIZE, b"short"):
        client.write_file(b"\x33", content)
        assert client.read_file(b"\x33") == content
    client.write_file(b"\x33", b"")
    assert client.read_file(b"\x33") == b""
    assert not client.file_info(b"\x33").filled
    client.delete_file(b"\x33")
    with pytest.raises(CommandFailedError, match="6A82"):
        client.read_file(b"\x33")
    with pytest.raises(CommandFailedError, match="6A82"):
        client.delete_file(b"\x33")


def test_attributes_stay_when_not_sent(client: IoTSafeClient, applet: Applet) -> None:
    label = encode_tlv(0x73, b"Notes")
    client.store_data(encode_tlv(0xE0, encode_tlv(0xC3, b"\x83\x01\x33" + label + b"\x21\x01\x02\x60\x01\x03")))
    client.write_file(b"\x33", b"text")
    file = applet.store.files[b"\x33"]
    assert (file.label, file.usage, file.access, file.content) == ("Notes", 2, 3, b"text")


def test_a_new_key_replaces_and_destroys_the_old_one(client: IoTSafeClient, applet: Applet) -> None:
    first = client.create_key(containers.DEVICE_KEY)
    old = applet.keys.handles()
    second = client.create_key(containers.DEVICE_KEY)
    assert first != second
    assert client.public_key(containers.DEVICE_KEY) == second
    assert len(applet.keys.handles()) == 1
    assert applet.keys.handles() != old


def test_move_replaces_key_and_certificate_in_one_step(client: IoTSafeClient, applet: Applet) -> None:
    client.create_key(containers.DEVICE_KEY)
    client.write_file(containers.CLIENT_CERTIFICATE, b"old")
    pending = client.create_key(containers.PENDING_KEY)
    client.write_file(containers.PENDING_CERTIFICATE, b"new")
    saved: list[object] = []
    applet.content._save = saved.append
    client.move(
        containers.PENDING_KEY, containers.DEVICE_KEY, containers.PENDING_CERTIFICATE, containers.CLIENT_CERTIFICATE
    )
    assert len(saved) == 1
    assert client.public_key(containers.DEVICE_KEY) == pending
    assert client.read_file(containers.CLIENT_CERTIFICATE) == b"new"
    assert client.read_file(containers.PENDING_CERTIFICATE) == b""
    assert not applet.store.private_keys[containers.PENDING_KEY].filled
    assert len(applet.keys.handles()) == 1


SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)]).public_bytes()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (b"", "6A80"),
        (b"\xe4\x00", "6A80"),
        (b"\xe0\x00", "6A80"),
        (b"\xe0\x05\xc3\x03\x83\x01\x33\x00", "6A80"),
        (encode_tlv(0xE0, b"\xc3\x03\x83\x01\x33") * 2, "6A80"),
        (encode_tlv(0xE0, b"\xc3\x03\x83\x01\x33" * 2), "6A80"),
        (encode_tlv(0xE0, b"\xc5\x03\x83\x01\x33"), "6A80"),
        (encode_tlv(0xE0, b"\xc3\x02\x83\x00"), "6A80"),
        (encode_tlv(0xE0, b"\xc3\x06\x83\x01\x33\x60\x01\x04"), "6A80"),
        (encode_tlv(0xE0, encode_tlv(0xC3, b"\x83\x01\x33" + encode_tlv(0x73, b"x" * 61))), "6A80"),
        (encode_tlv(0xE0, encode_tlv(0xC3, b"\x83\x01\x33" + encode_tlv(0x73, b"\xff"))), "6A80"),
        (encode_tlv(0xE0, encode_tlv(0xC3, b"\x83\x01\x33" + encode_tlv(0x70, bytes(MAX_FILE_SIZE + 1)))), "6A84"),
        (encode_tlv(0xE0, b"\xc1\x06\x84\x01\x33\x4b\x01\x23"), "6A80"),
        (encode_tlv(0xE0, b"\xc1\x06\x84\x01\x33\xb9\x01\x00"), "6A80"),
        (encode_tlv(0xE0, b"\xc1\x06\x84\x01\x33\x61\x01\x10"), "6A80"),
        # A private key cannot be imported.
        (encode_tlv(0xE0, encode_tlv(0xC1, b"\x84\x01\x33" + encode_tlv(0x70, bytes(32)))), "6A80"),
        (encode_tlv(0xE0, encode_tlv(0xC1, b"\x84\x01\x33" + encode_tlv(0xD1, bytes(32)))), "6A80"),
        (encode_tlv(0xE0, encode_tlv(0xC4, b"\x86\x01\x33" + encode_tlv(0xD1, bytes(65)))), "6A80"),
        (b"\xe1\x03\x83\x01\x33", "6A82"),
        (b"\xe1\x03\x70\x01\x33", "6A80"),
        (encode_tlv(0xE2, b"\x84\x01\x77" + encode_tlv(0x50, SUBJECT)), "6A82"),
        (encode_tlv(0xE2, b"\x84\x01\x0b" + encode_tlv(0x50, SUBJECT)), "6985"),
        (encode_tlv(0xE2, b"\x84\x01\x04" + encode_tlv(0x50, SUBJECT)), "6985"),
        (encode_tlv(0xE2, b"\x84\x01\x01"), "6A80"),
        (encode_tlv(0xE2, b"\x84\x01\x01" + encode_tlv(0x50, b"\x30\x05")), "6A80"),
        (encode_tlv(0xE2, b"\x84\x01\x01" + encode_tlv(0x50, SUBJECT + b"\x00")), "6A80"),
        (encode_tlv(0xE2, b"\x84\x01\x01" + encode_tlv(0x50, SUBJECT) + encode_tlv(0x51, b"\x02\x01\x00")), "6A80"),
        (encode_tlv(0xE3, b"\x84\x01\x0b\x84\x01\x01"), "6985"),
        (encode_tlv(0xE3, b"\x84\x01\x01\x84\x01\x01"), "6985"),
        (encode_tlv(0xE3, b"\x84\x01\x01\x84\x01\x04"), "6985"),
        (encode_tlv(0xE3, b"\x84\x01\x01\x84\x01\x77"), "6A82"),
        (encode_tlv(0xE3, b"\x84\x01\x01\x84\x01\x0b\x83\x01\x02\x83\x01\x03"), "6985"),
        (encode_tlv(0xE3, b"\x84\x01\x01"), "6A80"),
    ],
)
def test_a_refused_command_changes_nothing(
    client: IoTSafeClient, terminal: Terminal, frozen: Callable[[], bytes], command: bytes, status: str
) -> None:
    client.create_key(containers.DEVICE_KEY)
    before = frozen()
    blocks = [command[start : start + 255] for start in range(0, len(command), 255)] or [b""]
    for number, block in enumerate(blocks[:-1]):
        assert terminal.send(f"80 E2 00 {number:02X} {len(block):02X} {block.hex()}") == "9000"
    lc = f"{len(blocks[-1]):02X}" if blocks[-1] else ""
    assert terminal.status(f"80 E2 80 {len(blocks) - 1:02X} {lc} {blocks[-1].hex()}") == status
    assert frozen() == before


def test_blocks_in_wrong_order_are_refused_and_a_first_block_starts_again(terminal: Terminal) -> None:
    assert terminal.send("80 E2 0000 02 E005") == "9000"
    assert terminal.send("80 E2 8002 05 C303830133") == "6A86"
    assert terminal.send("80 E2 0000 02 E005") == "9000"
    assert terminal.send("80 E2 9001 05 C303830133") == "9000"
    assert terminal.send("80 E2 8001 05 C303830133") == "6A86"
    assert terminal.send("00 CB C300 03 830133 00") == "C310 830133 600101 4A0100 210101 20020800 9000"


def test_the_card_has_a_capacity(client: IoTSafeClient, applet: Applet) -> None:
    for number in range(MAX_OBJECTS - len(applet.store)):
        client.write_file(b"\x50" + bytes([number]), b"x")
    with pytest.raises(CommandFailedError, match="6989"):
        client.write_file(b"\x51", b"x")
    assert len(applet.store) == MAX_OBJECTS
    client.write_file(containers.CLIENT_CERTIFICATE, b"an existing one still works")


def test_closed_administration_refuses_everything(applet: Applet) -> None:
    closed = Applet(applet.store, applet.keys, lambda store: None, administration_open=False)
    client = IoTSafeClient(MemoryTransport(closed))
    with pytest.raises(CommandFailedError, match="6985"):
        client.write_file(b"\x33", b"x")
    with pytest.raises(CommandFailedError, match="6985"):
        client.create_key(containers.DEVICE_KEY)


def test_a_secret_is_kept_and_never_read(client: IoTSafeClient, terminal: Terminal) -> None:
    value = bytes(range(100, 132))
    client.store_data(encode_tlv(0xE0, encode_tlv(0xC4, b"\x86\x01\x01" + encode_tlv(0xD1, value))))
    described = terminal.send("00 CB C400 03 860101 00")
    assert described.startswith("C4")
    assert value.hex().upper() not in described

"""STORE DATA: create, update, delete, on-card CSR, promotion; whole or not at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from iot_safe_sim import csr, layout, tlv
from iot_safe_sim.applet import Applet
from iot_safe_sim.client import CommandFailedError, IoTSafeClient, MemoryTransport
from iot_safe_sim.objects import MAX_FILE_SIZE, MAX_OBJECTS
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
    label = tlv.encode(0x73, b"Notes")
    client.store_data(tlv.encode(0xE0, tlv.encode(0xC3, b"\x83\x01\x33" + label + b"\x21\x01\x02\x60\x01\x03")))
    client.write_file(b"\x33", b"text")
    file = applet.store.files[b"\x33"]
    assert (file.label, file.usage, file.access, file.content) == ("Notes", 2, 3, b"text")


def test_a_new_key_replaces_and_destroys_the_old_one(client: IoTSafeClient, applet: Applet) -> None:
    first = client.create_key(layout.DEVICE_KEY)
    old = applet.keys.handles()
    second = client.create_key(layout.DEVICE_KEY)
    assert first != second
    assert client.public_key(layout.DEVICE_KEY) == second
    assert len(applet.keys.handles()) == 1
    assert applet.keys.handles() != old


def test_certification_request_is_signed_on_the_card(client: IoTSafeClient, applet: Applet) -> None:
    public = client.create_key(layout.DEVICE_KEY)
    der = client.generate_csr(layout.DEVICE_KEY, csr.device_subject(NAME), csr.device_attributes(NAME))
    request = x509.load_der_x509_csr(der)
    assert request.is_signature_valid
    (common_name,) = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert common_name.value == NAME
    san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert san.get_values_for_type(x509.DNSName) == [NAME]
    assert len(san) == 1
    from cryptography.hazmat.primitives import serialization

    assert (
        request.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        == public
    )
    assert applet.store.files[layout.CSR_FILE].label == "CertificateSigningRequest"


def test_request_for_a_long_name_has_it_in_the_san_only(client: IoTSafeClient) -> None:
    name = ".".join(["a" * 30] * 3) + ".example.net"
    client.create_key(layout.DEVICE_KEY)
    der = client.generate_csr(layout.DEVICE_KEY, csr.device_subject(name), csr.device_attributes(name))
    request = x509.load_der_x509_csr(der)
    assert request.is_signature_valid
    assert not list(request.subject)
    assert request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == [name]


def test_move_replaces_key_and_certificate_in_one_step(client: IoTSafeClient, applet: Applet) -> None:
    client.create_key(layout.DEVICE_KEY)
    client.write_file(layout.CLIENT_CERTIFICATE, b"old")
    pending = client.create_key(layout.PENDING_KEY)
    client.write_file(layout.PENDING_CERTIFICATE, b"new")
    saved: list[object] = []
    applet._save = saved.append
    client.move(layout.PENDING_KEY, layout.DEVICE_KEY, layout.PENDING_CERTIFICATE, layout.CLIENT_CERTIFICATE)
    assert len(saved) == 1
    assert client.public_key(layout.DEVICE_KEY) == pending
    assert client.read_file(layout.CLIENT_CERTIFICATE) == b"new"
    assert client.read_file(layout.PENDING_CERTIFICATE) == b""
    assert not applet.store.private_keys[layout.PENDING_KEY].filled
    assert len(applet.keys.handles()) == 1


SUBJECT = csr.device_subject(NAME)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (b"", "6A80"),
        (b"\xe4\x00", "6A80"),
        (b"\xe0\x00", "6A80"),
        (b"\xe0\x05\xc3\x03\x83\x01\x33\x00", "6A80"),
        (tlv.encode(0xE0, b"\xc3\x03\x83\x01\x33") * 2, "6A80"),
        (tlv.encode(0xE0, b"\xc3\x03\x83\x01\x33" * 2), "6A80"),
        (tlv.encode(0xE0, b"\xc5\x03\x83\x01\x33"), "6A80"),
        (tlv.encode(0xE0, b"\xc3\x02\x83\x00"), "6A80"),
        (tlv.encode(0xE0, b"\xc3\x06\x83\x01\x33\x60\x01\x04"), "6A80"),
        (tlv.encode(0xE0, tlv.encode(0xC3, b"\x83\x01\x33" + tlv.encode(0x73, b"x" * 61))), "6A80"),
        (tlv.encode(0xE0, tlv.encode(0xC3, b"\x83\x01\x33" + tlv.encode(0x73, b"\xff"))), "6A80"),
        (tlv.encode(0xE0, tlv.encode(0xC3, b"\x83\x01\x33" + tlv.encode(0x70, bytes(MAX_FILE_SIZE + 1)))), "6A84"),
        (tlv.encode(0xE0, b"\xc1\x06\x84\x01\x33\x4b\x01\x23"), "6A80"),
        (tlv.encode(0xE0, b"\xc1\x06\x84\x01\x33\xb9\x01\x00"), "6A80"),
        (tlv.encode(0xE0, b"\xc1\x06\x84\x01\x33\x61\x01\x10"), "6A80"),
        # A private key cannot be brought in.
        (tlv.encode(0xE0, tlv.encode(0xC1, b"\x84\x01\x33" + tlv.encode(0x70, bytes(32)))), "6A80"),
        (tlv.encode(0xE0, tlv.encode(0xC1, b"\x84\x01\x33" + tlv.encode(0xD1, bytes(32)))), "6A80"),
        (tlv.encode(0xE0, tlv.encode(0xC4, b"\x86\x01\x33" + tlv.encode(0xD1, bytes(65)))), "6A80"),
        (b"\xe1\x03\x83\x01\x33", "6A82"),
        (b"\xe1\x03\x70\x01\x33", "6A80"),
        (tlv.encode(0xE2, b"\x84\x01\x77" + tlv.encode(0x50, SUBJECT)), "6A82"),
        (tlv.encode(0xE2, b"\x84\x01\x0b" + tlv.encode(0x50, SUBJECT)), "6985"),
        (tlv.encode(0xE2, b"\x84\x01\x04" + tlv.encode(0x50, SUBJECT)), "6985"),
        (tlv.encode(0xE2, b"\x84\x01\x01"), "6A80"),
        (tlv.encode(0xE2, b"\x84\x01\x01" + tlv.encode(0x50, b"\x30\x05")), "6A80"),
        (tlv.encode(0xE2, b"\x84\x01\x01" + tlv.encode(0x50, SUBJECT + b"\x00")), "6A80"),
        (tlv.encode(0xE2, b"\x84\x01\x01" + tlv.encode(0x50, SUBJECT) + tlv.encode(0x51, b"\x02\x01\x00")), "6A80"),
        (tlv.encode(0xE3, b"\x84\x01\x0b\x84\x01\x01"), "6985"),
        (tlv.encode(0xE3, b"\x84\x01\x01\x84\x01\x01"), "6985"),
        (tlv.encode(0xE3, b"\x84\x01\x01\x84\x01\x04"), "6985"),
        (tlv.encode(0xE3, b"\x84\x01\x01\x84\x01\x77"), "6A82"),
        (tlv.encode(0xE3, b"\x84\x01\x01\x84\x01\x0b\x83\x01\x02\x83\x01\x03"), "6985"),
        (tlv.encode(0xE3, b"\x84\x01\x01"), "6A80"),
    ],
)
def test_refused_whole(
    client: IoTSafeClient, terminal: Terminal, frozen: Callable[[], bytes], command: bytes, status: str
) -> None:
    client.create_key(layout.DEVICE_KEY)
    before = frozen()
    blocks = [command[start : start + 255] for start in range(0, len(command), 255)] or [b""]
    for number, block in enumerate(blocks[:-1]):
        terminal.expect(f"80 E2 00 {number:02X} {len(block):02X} {block.hex()}", "9000")
    lc = f"{len(blocks[-1]):02X}" if blocks[-1] else ""
    assert terminal.status(f"80 E2 80 {len(blocks) - 1:02X} {lc} {blocks[-1].hex()}") == status
    assert frozen() == before


def test_blocks_in_wrong_order_are_refused_and_a_first_block_starts_again(terminal: Terminal) -> None:
    terminal.expect("80 E2 0000 02 E005", "9000")
    terminal.expect("80 E2 8002 05 C303830133", "6A86")
    terminal.expect("80 E2 0000 02 E005", "9000")
    terminal.expect("80 E2 9001 05 C303830133", "9000")
    terminal.expect("80 E2 8001 05 C303830133", "6A86")
    terminal.expect("00 CB C300 03 830133 00", "C310 830133 600101 4A0100 210101 20020800 9000")


def test_the_card_has_a_capacity(client: IoTSafeClient, applet: Applet) -> None:
    for number in range(MAX_OBJECTS - len(applet.store)):
        client.write_file(b"\x50" + bytes([number]), b"x")
    with pytest.raises(CommandFailedError, match="6989"):
        client.write_file(b"\x51", b"x")
    assert len(applet.store) == MAX_OBJECTS
    client.write_file(layout.CLIENT_CERTIFICATE, b"an existing one still works")


def test_closed_administration_refuses_everything(applet: Applet) -> None:
    closed = Applet(applet.store, applet.keys, lambda store: None, administration_open=False)
    client = IoTSafeClient(MemoryTransport(closed))
    with pytest.raises(CommandFailedError, match="6985"):
        client.write_file(b"\x33", b"x")
    with pytest.raises(CommandFailedError, match="6985"):
        client.create_key(layout.DEVICE_KEY)


def test_a_secret_is_kept_and_never_read(client: IoTSafeClient, terminal: Terminal) -> None:
    value = bytes(range(100, 132))
    client.store_data(tlv.encode(0xE0, tlv.encode(0xC4, b"\x86\x01\x01" + tlv.encode(0xD1, value))))
    described = terminal.send("00 CB C400 03 860101 00")
    assert described.startswith("C4")
    assert value.hex().upper() not in described

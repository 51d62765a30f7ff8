"""What a PKCS#11 library for IoT SAFE sends: it lists the objects, and adds Le 00 to every command with data (T=1)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.card import Card
from iot_safe_sim.interface import Tlv, containers, parse_tlv, public_key
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.unit.iot_safe_sim.support import Terminal, key_pair, signature_is_valid

#: The library keeps a record for each container in a table of this size, by the first byte of the identifier.
CONTAINERS = 16
DIGEST = hashlib.sha256(b"to be signed").digest()
CERTIFICATE = bytes(range(256)) * 3


@dataclass
class Library:
    """The library on its channel. It sends GET RESPONSE with CLA & 7 while the status is 61xx."""

    terminal: Terminal
    channel: int = 0

    def exchange(self, header: str, data: str = "", le: str = "") -> tuple[bytes, str]:
        """Send with CLA = channel. Returns all data and the status."""
        raw = bytes.fromhex(data)
        body = f"{len(raw):02X}{raw.hex()}00" if raw else le
        answer, collected = self.terminal.send(f"{self.channel:02X}{header}{body}"), b""
        while True:
            collected += bytes.fromhex(answer[:-4])
            if answer[-4:-2] != "61":
                return collected, answer[-4:]
            answer = self.terminal.send(f"{self.channel & 7:02X}C00000{answer[-2:]}")

    def objects(self) -> list[Tlv]:
        """The whole list: GET DATA without data, and again with P2 01 while the status is 6300."""
        found, status = self.exchange("CB0100", le="00")
        while status == "6300":
            more, status = self.exchange("CB0101", le="00")
            found += more
        assert status == "9000"
        return parse_tlv(found)


@pytest.fixture
def library(card: Card) -> Library:
    client = IoTSafeClient(MemoryTransport(card.applet))
    client.create_key(containers.DEVICE_KEY)
    client.write_file(containers.CLIENT_CERTIFICATE, CERTIFICATE)
    terminal = Terminal(card.applet)
    # The library closes channels that a client may have left open, until one cannot be closed.
    channel = 1
    while terminal.send(f"007080{channel:02X}00") == "9000":
        channel += 1
    assert channel <= 4
    assert terminal.send("0070000001") == "01 9000"
    library = Library(terminal, 1)
    for _ in range(3):
        assert library.exchange("A40400", "A0000002480400") == (b"", "9000")
    return library


def test_the_object_list_fits_its_tables(library: Library) -> None:
    entries = [(entry.tag, {field.tag: field.value for field in parse_tlv(entry.value)}) for entry in library.objects()]
    kinds = [tag for tag, _fields in entries]
    # The library reads the list forward only, in this order.
    assert kinds == sorted(kinds, key=[0xC1, 0xC2, 0xC4, 0xC3].index)
    identifiers: dict[int, list[bytes]] = {}
    for tag, fields in entries:
        label, identifier = {0xC1: (0x74, 0x84), 0xC2: (0x75, 0x85), 0xC3: (0x73, 0x83), 0xC4: (0x76, 0x86)}[tag]
        # The library copies the label without a check that there is one.
        assert fields[label]
        assert fields[identifier][0] < CONTAINERS
        assert len(fields[0x60]) == len(fields[0x4A]) == 1
        identifiers.setdefault(tag, []).append(fields[identifier])
        if tag in (0xC1, 0xC2):
            assert fields[0x4B] in (b"\x13", b"\x14")
            assert (fields[0x92], len(fields[0x91])) == (b"\x04", 2)
    # The public half of private key number n is public key number n.
    assert identifiers[0xC2][: len(identifiers[0xC1])] == identifiers[0xC1]
    assert containers.DEVICE_KEY in identifiers[0xC1]
    certificates = [fields for tag, fields in entries if tag == 0xC3 and fields[0x21] == b"\x02"]
    own = next(fields for fields in certificates if fields[0x83] == containers.CLIENT_CERTIFICATE)
    assert int.from_bytes(own[0x20], "big") == len(CERTIFICATE)


def test_a_certificate_is_read_in_steps_of_255(library: Library) -> None:
    read = b""
    while len(read) < len(CERTIFICATE):
        part, status = library.exchange(f"B0{len(read):04X}", "830102")
        assert (len(part), status) == (min(255, len(CERTIFICATE) - len(read)), "9000")
        read += part
    assert read == CERTIFICATE


def test_a_signature(library: Library, card: Card) -> None:
    point = card.applet.store.private_keys[containers.DEVICE_KEY].public
    assert point is not None
    for _ in range(2):
        assert library.exchange("A40400", "A0000002480400") == (b"", "9000")
        assert library.exchange("2A0000", "840101 A10103 91020001 920104") == (b"", "9000")
        signature, status = library.exchange("2B8000", f"9E20{DIGEST.hex()}")
        assert (signature[:2], len(signature), status) == (b"\x33\x40", 66, "9000")
        assert signature_is_valid(point, DIGEST, signature[2:])


def test_a_key_agreement_with_keys_in_4_and_5(library: Library) -> None:
    generated, status = library.exchange("B90000", "840104")
    assert (generated[:6].hex(), status) == ("840104850104", "9000")
    peer, point = key_pair()
    assert library.exchange("240000", "850105") == (b"", "9000")
    assert library.exchange("D88000", f"34454943 8641{point.hex()}") == (b"", "9000")
    secret, status = library.exchange("460000", "840104 850105")
    assert (secret, status) == (peer.exchange(ec.ECDH(), public_key(generated[12:])), "9000")
    read, status = library.exchange("CD0000", "850104")
    assert (read, status) == (generated[6:], "9000")


def test_random_in_pieces_of_28_bytes(library: Library) -> None:
    data, status = library.exchange("840000", le="1C")
    assert (len(data), status) == (28, "9000")


def test_an_empty_container_is_refused_and_nothing_else_happens(library: Library) -> None:
    """The library reads the public half of every private key, also of empty containers."""
    for identifier in (containers.PENDING_KEY, containers.EPHEMERAL_KEY):
        assert library.exchange("CD0000", f"8501{identifier.hex()}") == (b"", "6985")
    assert library.exchange("B00000", f"8301{containers.PENDING_CERTIFICATE.hex()}") == (b"", "6985")
    assert library.exchange("CD0000", "850101")[1] == "9000"

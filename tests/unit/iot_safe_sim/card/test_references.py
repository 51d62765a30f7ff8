"""Naming an object by identifier or label."""

from __future__ import annotations

import hashlib

import pytest

from iot_safe_sim.middleware import IoTSafeClient
from tests.unit.iot_safe_sim.support import Terminal


def test_identifiers_of_up_to_20_bytes_and_labels_work_in_every_command(
    terminal: Terminal, client: IoTSafeClient
) -> None:
    """A real card numbers its keys `30 30 31`; wolfSSL's two-byte variant sends `30 34`."""
    for identifier in (b"001", b"04", bytes(range(1, 21))):
        public = client.create_key(identifier)
        assert client.public_key(identifier) == public
        digest = hashlib.sha256(identifier).digest()
        assert client.verify_digest(identifier, digest, client.sign_digest(identifier, digest))
    label = b"DeviceKey".hex()
    client.create_key(b"\x01")
    assert terminal.send(f"00 2A 0001 15 7409{label} A10103 91020001 920104") == "9000"
    assert terminal.send(f"00 CD 0000 0B 7509{label} 00").startswith("3445")


@pytest.mark.parametrize(
    ("command", "tags"),
    [("00 CB C300", "83 73"), ("00 CB C100", "84 74"), ("00 CD 0000", "85 75"), ("00 B9 0000", "84 74")],
)
def test_an_empty_label_names_nothing(terminal: Terminal, provisioned: IoTSafeClient, command: str, tags: str) -> None:
    identifier, label = tags.split()
    key = "04" if command.startswith("00 B9") else "01"
    key = "02" if identifier == "83" else key
    assert terminal.send(f"{command} 03 {identifier}01{key} 00").endswith("9000")
    # Beside an identifier, an empty label changes nothing. Alone it names no object, also none without a label.
    assert terminal.send(f"{command} 05 {label}00 {identifier}01{key} 00").endswith("9000")
    assert terminal.send(f"{command} 02 {label}00 00") == "6A80"

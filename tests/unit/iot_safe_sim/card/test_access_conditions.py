"""What a client may do with which object."""

from __future__ import annotations

from iot_safe_sim.middleware import IoTSafeClient
from tests.unit.iot_safe_sim.support import Terminal, key_pair


def test_the_device_key_signs_and_does_nothing_else(terminal: Terminal, client: IoTSafeClient) -> None:
    client.create_key(b"\x01")
    client.put_public_key(b"\x05", key_pair()[1])
    assert terminal.send("00 2A 0001 0D 840101 A10103 91020001 920104") == "9000"
    assert terminal.send("00 B9 0000 03 840101 00") == "6985"
    assert terminal.send("00 46 0000 06 840101 850105 00") == "6985"


def test_the_ephemeral_key_agrees_and_does_not_sign(terminal: Terminal, client: IoTSafeClient) -> None:
    client.put_public_key(b"\x05", key_pair()[1])
    client.generate_key_pair(b"\x04")
    assert terminal.status("00 46 0000 06 840104 850105 00") in ("9000", "6120")
    assert terminal.send("00 2A 0001 0D 840104 A10103 91020001 920104") == "6985"


def test_a_client_cannot_overwrite_the_public_half_of_a_key_pair(terminal: Terminal, client: IoTSafeClient) -> None:
    point = client.create_key(b"\x01")
    assert terminal.send("00 24 0002 03 850101") == "6A82"
    assert client.public_key(b"\x01") == point


def test_a_file_is_read_only_with_read_access(terminal: Terminal, client: IoTSafeClient) -> None:
    client.write_file(b"\x02", b"secret")
    client.store_data(bytes.fromhex("E008C306830102600100"))
    assert terminal.send("00 B0 0000 03 830102 00") == "6985"
    client.store_data(bytes.fromhex("E008C306830102600101"))
    assert terminal.send("00 B0 0000 03 830102 06") == b"secret".hex() + "9000"


def test_a_public_key_is_written_only_with_update_access(terminal: Terminal, client: IoTSafeClient) -> None:
    assert terminal.send("00 24 0002 03 850105") == "9000"
    client.store_data(bytes.fromhex("E008C206850105600101"))
    assert terminal.send("00 24 0002 03 850105") == "6985"

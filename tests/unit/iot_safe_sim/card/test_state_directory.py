"""The state directory: durable, locked, and with damage reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iot_safe_sim.card import Card, StateDirectory, StateError
from iot_safe_sim.card.state_directory import STATE_FILE
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport


def test_a_card_survives_a_restart(tmp_path: Path) -> None:
    with Card(tmp_path, key_store="software") as card:
        client = IoTSafeClient(MemoryTransport(card.applet))
        public = client.create_key(containers.DEVICE_KEY)
        client.write_file(containers.CLIENT_CERTIFICATE, b"certificate")
        client.generate_key_pair(containers.EPHEMERAL_KEY)
    with Card(tmp_path) as card:
        assert card.keys.name == "software"
        client = IoTSafeClient(MemoryTransport(card.applet))
        assert client.public_key(containers.DEVICE_KEY) == public
        assert client.read_file(containers.CLIENT_CERTIFICATE) == b"certificate"
        assert not card.applet.store.private_keys[containers.EPHEMERAL_KEY].filled


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        Card(tmp_path, key_store="software"),
        pytest.raises(StateError, match=f"in use by process {os.getpid()}.*--port"),
    ):
        Card(tmp_path)
    Card(tmp_path).close()


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    with Card(tmp_path / "state", key_store="software"):
        pass
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "state").iterdir():
        assert not path.stat().st_mode & 0o077, path


@pytest.mark.parametrize("damage", ["truncated", "one bit", "empty", "not ours"])
def test_damage_is_reported_not_repaired(tmp_path: Path, damage: str) -> None:
    Card(tmp_path, key_store="software").close()
    path = tmp_path / STATE_FILE
    raw = bytearray(path.read_bytes())
    if damage == "one bit":
        raw[len(raw) // 2] ^= 1
    path.write_bytes({"truncated": raw[:-10], "one bit": raw, "empty": b"", "not ours": b"{}"}[damage])
    before = path.read_bytes()
    with pytest.raises(StateError, match=r"applet\.json: damaged"):
        Card(tmp_path)
    assert path.read_bytes() == before


def test_another_format_is_named(tmp_path: Path) -> None:
    import hashlib

    body = b'{"format": 99}'
    path = tmp_path / STATE_FILE
    path.write_bytes(b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    with pytest.raises(StateError, match="format 99, expected 1"):
        Card(tmp_path)


def test_the_key_store_cannot_be_changed(tmp_path: Path) -> None:
    Card(tmp_path, key_store="software").close()
    with pytest.raises(StateError, match="made with key store 'software', asked for 'softhsm'"):
        Card(tmp_path, key_store="softhsm")
    Card(tmp_path).close()


def test_unusable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be used as state directory"):
        StateDirectory(tmp_path / "file")


def test_a_left_over_temporary_file_is_harmless(tmp_path: Path) -> None:
    Card(tmp_path, key_store="software").close()
    (tmp_path / f"{STATE_FILE}.new").write_bytes(b"half")
    with Card(tmp_path) as card:
        IoTSafeClient(MemoryTransport(card.applet)).write_file(b"\x33", b"x")
    assert not (tmp_path / f"{STATE_FILE}.new").exists()

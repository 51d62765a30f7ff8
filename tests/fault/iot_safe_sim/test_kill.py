"""kill -9 at any moment: everything acknowledged is there, key and certificate belong together, no stray keys."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from iot_safe_sim import layout
from iot_safe_sim.card import Card
from iot_safe_sim.client import IoTSafeClient, MemoryTransport
from tests.unit.iot_safe_sim.support import assert_signature

ROUNDS = {"software": 40, "softhsm": 20}


def run_and_kill(state: Path, key_store: str, delay: float) -> dict[str, str]:
    """Let the writer work for `delay` seconds after its first change, kill it, give the last of each change."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fault.iot_safe_sim.writer", str(state), key_store],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    acknowledged: dict[str, str] = {}
    first = process.stdout.readline()
    killer = threading.Timer(delay, process.kill)
    killer.start()
    for line in [first, *process.stdout]:
        kind, _, value = line.strip().partition(" ")
        # The kill may cut the last line; its change is then as good as not acknowledged.
        if line.endswith("\n"):
            acknowledged[kind] = value
    killer.join()
    assert process.wait(10) == -9
    process.stdout.close()
    return acknowledged


@pytest.mark.parametrize("key_store", sorted(ROUNDS))
def test_killed_at_any_moment(tmp_path: Path, key_store: str) -> None:
    source = random.Random(11)
    changes = 0
    for _ in range(ROUNDS[key_store]):
        acknowledged = run_and_kill(tmp_path, key_store, source.uniform(0, 0.03))
        with Card(tmp_path) as card:
            client = IoTSafeClient(MemoryTransport(card.applet))
            number = int(client.read_file(b"\x33"))
            assert number in (int(acknowledged["file"]), int(acknowledged["file"]) + 1)
            changes = number
            device, pending = client.read_file(layout.CLIENT_CERTIFICATE), client.read_file(layout.PENDING_CERTIFICATE)
            if device:
                assert client.public_key(layout.DEVICE_KEY) == device
                signature = card.keys.sign(str(card.applet.store.private_keys[b"\x01"].handle), bytes(32))
                assert_signature(device, bytes(32), signature)
            if "device" in acknowledged:
                assert device.hex() == acknowledged["device"] or device == bytes.fromhex(acknowledged["pending"])
            if pending:
                assert client.public_key(layout.PENDING_KEY) == pending
            assert card.keys.handles() == card.applet.store.handles()
    print(f"{key_store}: {ROUNDS[key_store]} kills, {changes} rounds of changes")
    assert changes > ROUNDS[key_store]

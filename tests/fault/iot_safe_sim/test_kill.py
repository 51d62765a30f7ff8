"""After kill -9, every acknowledged change is there, key and certificate match, and no key is without an object."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.unit.iot_safe_sim.support import signature_is_valid

ROUNDS = {"software": 40, "softhsm": 20}


def run_and_kill(state: Path, key_store: str, changes: int, delay: float) -> dict[str, str]:
    """Kill the writer `delay` seconds after so many acknowledged changes.

    Returns the last acknowledged change of each kind.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fault.iot_safe_sim.writer", str(state), key_store],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(changes)]
    killer = threading.Timer(delay, process.kill)
    killer.start()
    lines += process.stdout
    killer.join()
    status = process.wait(10)
    process.stdout.close()
    if status != -signal.SIGKILL:
        raise RuntimeError(f"the writer ended by itself: {status}")
    # The kill may truncate the last line. Its change counts as not acknowledged then.
    return dict(line.split() for line in lines if line.endswith("\n"))


@pytest.mark.parametrize("key_store", sorted(ROUNDS))
def test_killed_at_any_moment(tmp_path: Path, key_store: str) -> None:
    source = random.Random(11)
    changes = 0
    for _ in range(ROUNDS[key_store]):
        acknowledged = run_and_kill(tmp_path, key_store, source.randint(1, 8), source.uniform(0, 0.01))
        with Card(tmp_path) as card:
            client = IoTSafeClient(MemoryTransport(card.applet))
            number = int(client.read_file(b"\x33"))
            assert number in (int(acknowledged["file"]), int(acknowledged["file"]) + 1)
            changes = number
            device, pending = (
                client.read_file(containers.CLIENT_CERTIFICATE),
                client.read_file(containers.PENDING_CERTIFICATE),
            )
            if device:
                assert client.public_key(containers.DEVICE_KEY) == device
                signature = card.keys.sign(str(card.applet.store.private_keys[b"\x01"].handle), bytes(32))
                assert signature_is_valid(device, bytes(32), signature)
            if "device" in acknowledged:
                assert device.hex() == acknowledged["device"] or device == bytes.fromhex(acknowledged["pending"])
            if pending:
                assert client.public_key(containers.PENDING_KEY) == pending
            assert card.keys.handles() == card.applet.store.handles()
    print(f"{key_store}: {ROUNDS[key_store]} kills, {changes} rounds of changes")
    assert changes > ROUNDS[key_store]

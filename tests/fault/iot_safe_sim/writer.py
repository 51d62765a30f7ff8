"""Changes a card without pause, and prints each change that the card has acknowledged. The test kills it."""

from __future__ import annotations

import sys
from pathlib import Path

from iot_safe_sim.card import Card
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport


def main(state: Path, key_store: str) -> None:
    with Card(state, key_store=key_store) as card:
        client = IoTSafeClient(MemoryTransport(card.applet))
        number = int(client.read_file(b"\x33") or b"0") if b"\x33" in card.applet.store.files else 0
        while True:
            number += 1
            client.write_file(b"\x33", str(number).encode())
            print(f"file {number}", flush=True)
            # A pending certificate from a killed run belongs to a key that is replaced now.
            client.write_file(containers.PENDING_CERTIFICATE, b"")
            public = client.create_key(containers.PENDING_KEY)
            print(f"pending {public.hex()}", flush=True)
            client.write_file(containers.PENDING_CERTIFICATE, public)
            client.move(
                containers.PENDING_KEY,
                containers.DEVICE_KEY,
                containers.PENDING_CERTIFICATE,
                containers.CLIENT_CERTIFICATE,
            )
            print(f"device {public.hex()}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

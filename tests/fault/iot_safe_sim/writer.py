"""A card that is changed without pause. Prints each change once the card has acknowledged it; killed by the test."""

from __future__ import annotations

import sys
from pathlib import Path

from iot_safe_sim import layout
from iot_safe_sim.card import Card
from iot_safe_sim.client import IoTSafeClient, MemoryTransport


def main(state: Path, key_store: str) -> None:
    with Card(state, key_store=key_store) as card:
        client = IoTSafeClient(MemoryTransport(card.applet))
        number = int(client.read_file(b"\x33") or b"0") if b"\x33" in card.applet.store.files else 0
        while True:
            number += 1
            client.write_file(b"\x33", str(number).encode())
            print(f"file {number}", flush=True)
            # What a killed run left there belongs to a key that is about to go.
            client.write_file(layout.PENDING_CERTIFICATE, b"")
            public = client.create_key(layout.PENDING_KEY)
            print(f"pending {public.hex()}", flush=True)
            client.write_file(layout.PENDING_CERTIFICATE, public)
            client.move(layout.PENDING_KEY, layout.DEVICE_KEY, layout.PENDING_CERTIFICATE, layout.CLIENT_CERTIFICATE)
            print(f"device {public.hex()}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

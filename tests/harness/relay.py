"""A lossy piece of network between NAS and RADIUS server: a UDP relay that is told which packets to lose."""

from __future__ import annotations

import random
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

REQUEST, REPLY = "request", "reply"


def lose(share: float, seed: int) -> Callable[[str, bytes], bool]:
    """Loses `share` (0 to 1) of each direction; the n-th packet of a direction has the same fate in each run."""
    chances = {direction: random.Random(f"{direction} {seed}") for direction in (REQUEST, REPLY)}

    def choose(direction: str, _packet: bytes) -> bool:
        return chances[direction].random() < share

    return choose


@dataclass
class Relay:
    """Passes packets from `address` to 127.0.0.1:`server_port` and the answers back, except where `drop` says so.

    `drop` is called with the direction and the packet, in the relay's thread, before the packet goes on.
    """

    server_port: int
    drop: Callable[[str, bytes], bool]
    address: str = "127.0.0.1"
    seen: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Relay:
        self._selector = selectors.DefaultSelector()
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind((self.address, 0))
        self.port: int = self._front.getsockname()[1]
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._front, selectors.EVENT_READ)
        self._selector.register(self._stopped, selectors.EVENT_READ)
        # A socket to the server for each client, as a NAS's own port: the server tells requests apart by it.
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.send(b"x")
        self._thread.join(10)
        for one in (self._front, self._stop, self._stopped, *self._backs.values()):
            one.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._stopped:
                    return
                self._pass_on(key.fileobj, key.data)

    def _pass_on(self, source: object, client: tuple[str, int] | None) -> None:
        assert isinstance(source, socket.socket)
        try:
            packet, sender = source.recvfrom(65536)
        except ConnectionRefusedError:
            # The server is down. To its client, that is a lost packet.
            return
        direction = REQUEST if client is None else REPLY
        self.seen[direction] += 1
        if self.drop(direction, packet):
            self.dropped[direction] += 1
            return
        if client is not None:
            self._front.sendto(packet, client)
            return
        if sender not in self._backs:
            back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.connect(("127.0.0.1", self.server_port))
            self._backs[sender] = back
            self._selector.register(back, selectors.EVENT_READ, sender)
        try:
            self._backs[sender].send(packet)
        except ConnectionRefusedError:
            return

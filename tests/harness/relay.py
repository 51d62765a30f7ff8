"""A network path between two daemons on this host that loses packets: what relays share, and the one for RADIUS.

`Relay` runs in a thread and asks a function about each packet, so a test can lose, count or react to one packet of a
conversation. `dns_delay.DnsDelay` runs in a process of its own, adds delay and carries TCP too, so it does not disturb
a measurement.
"""

from __future__ import annotations

import random
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

REQUEST, REPLY = "request", "reply"
MAX_UDP_OCTETS = 65535
_BUFFER_OCTETS = 4 * 1024 * 1024

Drop = Callable[[str, bytes], bool]


class Loss:
    """Random loss of `share` (0 to 1) of each direction, drawn from `seed`.

    The nth packet of a direction has the same fate in each run. While `share` is 0, nothing is drawn.
    """

    def __init__(self, share: float, seed: int) -> None:
        self.share = share
        self._chances = {direction: random.Random(f"{direction} {seed}") for direction in (REQUEST, REPLY)}

    def __call__(self, direction: str, _packet: bytes) -> bool:
        """Whether this packet is lost."""
        return self.share > 0 and self._chances[direction].random() < self.share


def udp_socket(address: tuple[str, int] = ("127.0.0.1", 0)) -> socket.socket:
    """A bound, non-blocking socket whose receive buffer holds the packets of a burst."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(address)
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
    return one


@dataclass
class Relay:
    """Passes packets from `address` to 127.0.0.1:`server_port` and the answers back, except those that `drop` selects.

    `drop` gets the direction and the packet, in the relay's thread, before the packet is passed on. The relay counts
    the packets of each direction in `seen`, and those that it dropped in `dropped`.
    """

    server_port: int
    drop: Drop
    address: str = "127.0.0.1"
    seen: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Relay:
        self._selector = selectors.DefaultSelector()
        self._front = udp_socket((self.address, 0))
        self.port: int = self._front.getsockname()[1]
        self._stop, self._stopped = socket.socketpair()
        self._selector.register(self._front, selectors.EVENT_READ)
        self._selector.register(self._stopped, selectors.EVENT_READ)
        # One socket to the server for each client: a RADIUS server tells requests apart by their source port.
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
            packet, sender = source.recvfrom(MAX_UDP_OCTETS)
        except (BlockingIOError, ConnectionRefusedError):
            # Refused: the server is down. To its client, that is a lost packet.
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
            back = udp_socket()
            back.connect(("127.0.0.1", self.server_port))
            self._backs[sender] = back
            self._selector.register(back, selectors.EVENT_READ, sender)
        try:
            self._backs[sender].send(packet)
        except ConnectionRefusedError:
            return

"""Distance on loopback: a DNS relay between resolver and authoritative server that delays, loses, or goes silent.

It runs in a process of its own, so it shares no interpreter lock with a measurement. UDP queries leave through one
socket with query IDs of the relay's own; TCP connections are passed on octet by octet.

    with DnsDelay(knot.port, round_trip=0.03) as relay:
        Unbound(folder, {"iot.example": (relay.address, relay.port)}, anchors)
        relay.set(black_hole=True)
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import select
import socket
import subprocess
import sys
import time
from dataclasses import InitVar, asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import dns.name

from tests.harness.process import free_port
from tests.harness.relay import MAX_UDP_OCTETS, REPLY, REQUEST, Loss, udp_socket

_IDS = 65536
# Datagrams of one socket in a row, before what is due goes out.
_BURST = 64


@dataclass
class Conditions:
    """The network as it is now. round_trip: seconds, half in each direction; loss: share of each direction (0 to 1).

    black_hole: nothing passes. silent_below: UDP queries for names in this domain are lost; None: for none.
    """

    round_trip: float = 0.0
    loss: float = 0.0
    black_hole: bool = False
    silent_below: str | None = None


@dataclass
class DnsDelay:
    """A relay from `port` on each of `addresses` to 127.0.0.1:`server_port`.

    Losses are drawn from `seed`: the nth packet of a direction has the same fate in each run.
    """

    server_port: int
    round_trip: InitVar[float] = 0.0
    loss: InitVar[float] = 0.0
    black_hole: InitVar[bool] = False
    seed: int = 1
    addresses: tuple[str, ...] = ("127.0.0.1",)
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __post_init__(self, round_trip: float, loss: float, black_hole: bool) -> None:
        self.conditions = Conditions(round_trip, loss, black_hole)

    def __enter__(self) -> DnsDelay:
        settings = {"addresses": self.addresses, "port": self.port, "server_port": self.server_port, "seed": self.seed}
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        # The answer to this also shows that the sockets are open.
        self.set()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait(10)
            self._process.stdout.close()  # type: ignore[union-attr]

    @property
    def address(self) -> str:
        """The first address."""
        return self.addresses[0]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def set(self, **changes: Any) -> dict[str, int]:
        """Change some of the conditions, for packets that arrive from now on.

        Returns how many packets have been "passed" on and "lost" so far. Raises RuntimeError when the relay has ended.
        """
        self.conditions = replace(self.conditions, **changes)
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asdict(self.conditions)) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the DNS relay has ended with code {self._process.wait(5)}")
        counts: dict[str, int] = json.loads(line)
        return counts


class _Relay:
    """The relay's process."""

    def __init__(self, addresses: list[str], port: int, server_port: int, seed: int) -> None:
        self._server = ("127.0.0.1", server_port)
        self._fronts = {udp_socket((address, port)) for address in addresses}
        self._back = udp_socket()
        self._back.connect(self._server)
        self._listeners = {socket.create_server((address, port), backlog=512) for address in addresses}
        self._conditions = Conditions()
        self._silent: bytes | None = None
        self._loss = Loss(0.0, seed)
        # By the query ID behind the relay: the socket that was asked, who asked, and the original query ID.
        self._askers: list[tuple[socket.socket, Any, bytes] | None] = [None] * _IDS
        self._last = 0
        # When, a running number, through which socket, what, and to whom (None: whom the socket is connected to).
        self._due: list[tuple[float, int, socket.socket, bytes, Any]] = []
        self._number = itertools.count()
        # Each end of a TCP connection, and the other end; and the time of the latest octets on their way to an end.
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._latest: dict[socket.socket, float] = {}
        self._counts = {"passed": 0, "lost": 0}

    def run(self) -> None:
        """Until standard input ends."""
        commands = sys.stdin
        while True:
            # select() waits with microseconds, epoll with milliseconds; there are few descriptors.
            readable, _, _ = select.select(
                [commands, *self._fronts, self._back, *self._listeners, *self._pairs], [], [], self._pause()
            )
            for ready in readable:
                if not isinstance(ready, socket.socket):
                    if not self._obey(commands.readline()):
                        return
                elif ready in self._fronts or ready is self._back:
                    self._take(ready)
                elif ready in self._listeners:
                    self._accept(ready)
                else:
                    self._take_stream(ready)
            self._send_due()

    def _obey(self, line: str) -> bool:
        if not line:
            return False
        self._conditions = Conditions(**json.loads(line))
        self._loss.share = self._conditions.loss
        below = self._conditions.silent_below
        self._silent = dns.name.from_text(below.lower()).to_wire() if below else None
        print(json.dumps(self._counts), flush=True)
        return True

    def _pause(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _take(self, source: socket.socket) -> None:
        half = self._conditions.round_trip / 2
        for _ in range(_BURST):
            try:
                packet, sender = source.recvfrom(MAX_UDP_OCTETS)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if len(packet) < 2 or self._lost(source, packet):
                self._counts["lost"] += 1
                continue
            out, target = self._back, None
            if source is self._back:
                asker = self._askers[packet[0] << 8 | packet[1]]
                if asker is None:
                    continue
                out, target, packet = asker[0], asker[1], asker[2] + packet[2:]
            else:
                self._last = (self._last + 1) % _IDS
                self._askers[self._last] = (source, sender, packet[:2])
                packet = self._last.to_bytes(2, "big") + packet[2:]
            self._counts["passed"] += 1
            heapq.heappush(self._due, (time.monotonic() + half, next(self._number), out, packet, target))

    def _lost(self, source: socket.socket, packet: bytes) -> bool:
        if self._conditions.black_hole:
            return True
        if self._silent and source is not self._back and self._silent in packet.lower():
            return True
        return self._loss(REPLY if source is self._back else REQUEST, packet)

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, out, packet, target = heapq.heappop(self._due)
            with contextlib.suppress(OSError):
                if out in self._latest:
                    self._send_stream(out, packet)
                elif target is None:
                    out.send(packet)
                else:
                    out.sendto(packet, target)

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        if self._conditions.black_hole:
            # The kernel has completed the handshake already. The client hears nothing else.
            self._pairs[client] = client
            return
        server = socket.create_connection(self._server, timeout=1)
        self._pairs[client], self._pairs[server] = server, client
        self._latest[client] = 0.0
        # The handshake took no time on loopback. What follows is late by it.
        self._latest[server] = time.monotonic() + 1.5 * self._conditions.round_trip

    def _take_stream(self, source: socket.socket) -> None:
        try:
            octets = source.recv(MAX_UDP_OCTETS)
        except OSError:
            octets = b""
        peer = self._pairs[source]
        if peer in self._latest and not self._conditions.black_hole:
            # Never before octets that were sent earlier. The end of the stream (no octets) takes its time, too.
            self._latest[peer] = max(self._latest[peer], time.monotonic() + self._conditions.round_trip / 2)
            heapq.heappush(self._due, (self._latest[peer], next(self._number), peer, octets, None))
        if not octets:
            del self._pairs[source]
            if source not in self._latest:
                source.close()

    def _send_stream(self, out: socket.socket, octets: bytes) -> None:
        if octets:
            # DNS messages are far smaller than a socket's buffer.
            out.sendall(octets)
            return
        # The other end has finished. This end may still send; if not, close it.
        del self._latest[out]
        out.shutdown(socket.SHUT_WR)
        if out not in self._pairs:
            out.close()


if __name__ == "__main__":
    _Relay(**json.loads(sys.argv[1])).run()

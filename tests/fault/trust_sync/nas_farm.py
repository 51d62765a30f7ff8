"""Many NASes in one thread. Each accepts Disconnect- and CoA-Requests on its own address, and records when."""

from __future__ import annotations

import contextlib
import hashlib
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

SECRET = b"farm-secret"
_ACCT_SESSION_ID = 44


def attributes(octets: bytes) -> dict[int, bytes]:
    """The attributes of a packet by type. If a type is repeated, the last one counts."""
    found, at = {}, 20
    while at + 2 <= len(octets) and octets[at + 1] >= 2:
        found[octets[at]] = octets[at + 2 : at + octets[at + 1]]
        at += octets[at + 1]
    return found


def answer(request: bytes, code: int, body: bytes = b"", secret: bytes = SECRET) -> bytes:
    """A reply with a genuine Response Authenticator (RFC 2865 section 3) and any attributes."""
    head = bytes([code, request[1]]) + (20 + len(body)).to_bytes(2, "big")
    digest = hashlib.md5(head + request[4:20] + body + secret).digest()  # noqa: S324  # RADIUS's own
    return head + digest + body


def acknowledge(_nas: str, request: bytes) -> bytes | None:
    """The reply of a NAS that ends the session."""
    return answer(request, request[0] + 1)


class NasFarm:
    """NASes on 127.1.x.y, all on one port. reply: makes the reply to a request; None: no reply.

    arrived: when the first request for each Acct-Session-Id arrived. requests: the datagrams that each NAS received.
    """

    def __init__(self, count: int, reply: Callable[[str, bytes], bytes | None] = acknowledge) -> None:
        self.reply = reply
        self.addresses = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(count)]
        self.arrived: dict[str, float] = {}
        self.requests: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._stop, stopped = socket.socketpair()
        self._selector.register(stopped, selectors.EVENT_READ)
        self._sockets = [self._stop, stopped]
        self.port = 0
        for address in self.addresses:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            one.bind((address, self.port))
            one.setblocking(False)
            self.port = one.getsockname()[1]
            self._sockets.append(one)
            self._selector.register(one, selectors.EVENT_READ, address)
        self._thread = threading.Thread(target=self._run, name="NAS farm", daemon=True)

    @property
    def settings(self) -> str:
        return f"[[nas]]\naddress = '127.1.0.0/16'\nsecret = '{SECRET.decode()}'\nport = {self.port}\n"

    def __enter__(self) -> NasFarm:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.send(b"x")
        self._thread.join(10)
        for one in self._sockets:
            one.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    for _ in range(64):
                        self._take(key.data, key.fileobj)  # type: ignore[arg-type]

    def _take(self, address: str, own: socket.socket) -> None:
        octets, peer = own.recvfrom(65535)
        now = time.monotonic()
        self.requests[address] += 1
        self.arrived.setdefault(attributes(octets).get(_ACCT_SESSION_ID, b"").decode(), now)
        reply = self.reply(address, octets)
        if reply is not None:
            own.sendto(reply, peer)

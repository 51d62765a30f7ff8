"""A UDP socket to one NAS, shared by all requests to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from trust_sync.sessions.radius import Request, verified

_IDENTIFIERS = 256
_MAX_DATAGRAM_OCTETS = 65535
# Datagrams that are read from one socket before other tasks run.
_DATAGRAMS_AT_ONCE = 32


class NasSocket:
    """A UDP socket to one NAS. Each outstanding request has its own identifier (RFC 2865 section 3: one octet).

    Identifiers are used in turn, so a late reply rarely has the identifier of a newer request. If it does, it fails
    verification. users: the requests that use the socket.
    """

    def __init__(self, address: str, port: int) -> None:
        """Connect the socket. Raises OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.connect((address, port))
        except OSError:
            self._socket.close()
            raise
        self._waiting: dict[int, tuple[Request, asyncio.Future[bytes]]] = {}
        self._taken: set[int] = set()
        self._last = -1
        self.users = 0
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Close the socket."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def reserve_identifier(self) -> int:
        """Reserve a free identifier. Raises OSError if there is none."""
        for step in range(1, _IDENTIFIERS + 1):
            identifier = (self._last + step) % _IDENTIFIERS
            if identifier not in self._taken:
                self._taken.add(identifier)
                self._last = identifier
                return identifier
        raise OSError(f"{_IDENTIFIERS} requests are outstanding, so no identifier is free")

    def release_identifier(self, identifier: int) -> None:
        """Make an identifier available again."""
        self._taken.discard(identifier)

    async def exchange(self, request: Request, wait: float, tries: int, on_silence: Callable[[], None]) -> bytes | None:
        """Send a request up to `tries` times, `wait` seconds apart. Returns the verified reply, None if there was none.

        on_silence: called after each transmission that was not answered in time.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[request.identifier] = request, answer
        try:
            for _ in range(tries):
                self._send(request.octets)
                done, _pending = await asyncio.wait([answer], timeout=wait)
                if done:
                    return answer.result()
                on_silence()
        finally:
            del self._waiting[request.identifier]
            answer.cancel()
        return None

    def _send(self, octets: bytes) -> None:
        try:
            self._socket.send(octets)
        except (BlockingIOError, ConnectionRefusedError):
            # The buffer is full, or the NAS restarts (ICMP port unreachable). The request is transmitted again.
            return

    def _receive(self) -> None:
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                octets = self._socket.recv(_MAX_DATAGRAM_OCTETS)
            except ConnectionRefusedError:
                continue
            except OSError:
                return
            found = self._waiting.get(octets[1]) if len(octets) > 1 else None
            if found is None:
                continue
            request, answer = found
            reply = verified(request, octets)
            # Any other datagram is ignored.
            if reply is not None and not answer.done():
                answer.set_result(reply)

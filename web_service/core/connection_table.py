"""Admission of connections: bounds per client and in all, and which connection is ended for another. Pure.

A connection takes about 0.3 MB before its first request, mostly buffers of TLS. The bounds therefore apply before the
TLS handshake. When the table is full, the client with the most connections loses one to a client with fewer, so that a
flood from a few addresses cannot keep other clients out. A connection whose request is being served is never ended.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable

from web_service.core.drop_reasons import DropReason

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientConnection:
    """One accepted connection. key: the client that it counts for. end: ends it at once."""

    __slots__ = ("address", "end", "key")

    def __init__(self, key: str, address: str, end: Callable[[], None]) -> None:
        self.key = key
        self.address = address
        self.end = end


class ConnectionTable:
    """All open connections. shared: networks of addresses that many clients share, to which only `total` applies."""

    def __init__(self, total: int, per_address: int, shared: Iterable[Network] = ()) -> None:
        self._total = total
        self._per_address = per_address
        self._shared = tuple(shared)
        self._held: dict[str, int] = {}
        # Connections that may be ended, by client; the longest idle first.
        self._idle: dict[str, OrderedDict[ClientConnection, None]] = {}
        self._open: set[ClientConnection] = set()
        self._serial = 0

    def __len__(self) -> int:
        return len(self._open)

    def key(self, address: str) -> str:
        """What identifies a client: its IPv4 address, or the /64 of its IPv6 address (RFC 4291 section 2.5.1)."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if any(parsed in network for network in self._shared):
            self._serial += 1
            return f"{address}#{self._serial}"
        if parsed.version == 4:
            return address
        return str(ipaddress.ip_network((parsed, 64), strict=False))

    def admit(self, address: str, end: Callable[[], None]) -> ClientConnection | DropReason:
        """Admit a connection, or return why not. Another connection may be ended for it."""
        key = self.key(address)
        if self._held.get(key, 0) >= self._per_address:
            return DropReason.ADDRESS_FULL
        if len(self._open) >= self._total:
            victim = self._victim(self._held.get(key, 0))
            if victim is None:
                return DropReason.ALL_FULL
            self.remove(victim)
            victim.end()
        connection = ClientConnection(key, address, end)
        self._open.add(connection)
        self._held[key] = self._held.get(key, 0) + 1
        self.idle(connection)
        return connection

    def _victim(self, held: int) -> ClientConnection | None:
        """The longest idle connection of the client that holds the most, if it holds more than `held`."""
        most, found = held, None
        for key, connections in self._idle.items():
            if self._held[key] > most:
                most, found = self._held[key], connections
        return next(iter(found)) if found else None

    def idle(self, connection: ClientConnection) -> None:
        """The connection may be ended from now on: it is in its handshake, or waits for a request."""
        if connection in self._open:
            self._idle.setdefault(connection.key, OrderedDict())[connection] = None

    def busy(self, connection: ClientConnection) -> None:
        """A request of the connection is being served: it must not be ended."""
        waiting = self._idle.get(connection.key)
        if waiting is not None:
            waiting.pop(connection, None)
            if not waiting:
                del self._idle[connection.key]

    def remove(self, connection: ClientConnection) -> bool:
        """The connection has ended; returns False if it was removed already."""
        if connection not in self._open:
            return False
        self.busy(connection)
        self._open.remove(connection)
        self._held[connection.key] -= 1
        if not self._held[connection.key]:
            del self._held[connection.key]
        return True

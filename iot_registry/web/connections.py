"""Which connections are let in, and which give way when there is no room: bounds per address and in all. Pure.

A connection costs about 0.3 MB before it has said anything (most of it is the buffer of its TLS), so the bounds count
before TLS begins. When all places are taken, whoever holds the most gives one up to whoever holds fewer: a flood from a
few addresses cannot keep another one out. A connection whose request is being served never gives way.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterable

from iot_registry.errors import Drop

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Connection:
    """One connection from its acceptance on. end: cuts it off at once."""

    __slots__ = ("address", "end", "key")

    def __init__(self, key: str, address: str, end: Callable[[], None]) -> None:
        self.key = key
        self.address = address
        self.end = end


class Table:
    """All open connections. shared: addresses that many clients stand behind; for those only `total` counts."""

    def __init__(self, total: int, per_address: int, shared: Iterable[Network] = ()) -> None:
        self._total = total
        self._per_address = per_address
        self._shared = tuple(shared)
        self._held: dict[str, int] = {}
        # Those that may give way, by who holds them; the longest idle first.
        self._idle: dict[str, OrderedDict[Connection, None]] = {}
        self._open: set[Connection] = set()
        self._serial = 0

    def __len__(self) -> int:
        return len(self._open)

    def key(self, address: str) -> str:
        """Who is held to be one client. A host has a whole /64 of IPv6 (RFC 4291 section 2.5.1)."""
        parsed = ipaddress.ip_address(address.partition("%")[0])
        if any(parsed in network for network in self._shared):
            self._serial += 1
            return f"{address}#{self._serial}"
        if parsed.version == 4:
            return address
        return str(ipaddress.ip_network((parsed, 64), strict=False))

    def admit(self, address: str, end: Callable[[], None]) -> Connection | Drop:
        """Let a connection in, or say why not. Another one may be ended for it."""
        key = self.key(address)
        if self._held.get(key, 0) >= self._per_address:
            return Drop.ADDRESS_FULL
        if len(self._open) >= self._total:
            victim = self._victim(self._held.get(key, 0))
            if victim is None:
                return Drop.ALL_FULL
            self.remove(victim)
            victim.end()
        connection = Connection(key, address, end)
        self._open.add(connection)
        self._held[key] = self._held.get(key, 0) + 1
        self.idle(connection)
        return connection

    def _victim(self, held: int) -> Connection | None:
        """The longest idle connection of whoever holds the most, and more than `held`."""
        most, found = held, None
        for key, connections in self._idle.items():
            if self._held[key] > most:
                most, found = self._held[key], connections
        return next(iter(found)) if found else None

    def idle(self, connection: Connection) -> None:
        """It may give way from now on: it is in its handshake, waits for a request, or for the rest of one."""
        if connection in self._open:
            self._idle.setdefault(connection.key, OrderedDict())[connection] = None

    def busy(self, connection: Connection) -> None:
        """Its request is being served."""
        waiting = self._idle.get(connection.key)
        if waiting is not None:
            waiting.pop(connection, None)
            if not waiting:
                del self._idle[connection.key]

    def remove(self, connection: Connection) -> bool:
        """It has ended; False: that was known already."""
        if connection not in self._open:
            return False
        self.busy(connection)
        self._open.remove(connection)
        self._held[connection.key] -= 1
        if not self._held[connection.key]:
            del self._held[connection.key]
        return True

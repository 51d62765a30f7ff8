"""The validating resolvers that TLSA records may be looked up with.

The AD flag is trustworthy only over a path that nobody else can write to: loopback, or DNS over TLS to an authenticated
resolver (RFC 6698 section 8.3; RFC 7671 section 10.1). Plain DNS to any other address is a configuration error.

A `Resolver` is a description. `open` returns a client that asks thousands of questions at the same time from an event
loop; `lookup` asks one question from a program without an event loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dane_radius.core.answers import Answer
from dane_radius.dns.stream import StreamClient
from dane_radius.dns.tls import tls_context
from dane_radius.dns.udp import UdpClient

# Must stay below 1.9 s: Unbound drops a reply that is older than that (discard-timeout).
DEFAULT_TIMEOUT_SECONDS = 1.5
DEFAULT_RETRANSMIT_SECONDS = 0.2


class Client(Protocol):
    """Asks one resolver, from one event loop."""

    async def lookup(self, name: str) -> Answer:
        """The TLSA RRset of a normalized name, within a time limit. Never raises: failures are answers, too."""

    def start(self) -> None:
        """Prepare for `ask`; called in the event loop. Raises OSError."""

    def ask(self, name: str, done: Callable[[Answer], None]) -> None:
        """As `lookup`, from any thread after `start`. Calls `done` once, in the event loop. Never raises."""

    async def close(self) -> None:
        """Close every socket. Lookups under way end as unavailable."""


class Resolver(Protocol):
    """A validating resolver, as configured."""

    def open(self) -> Client:
        """A client for one event loop. It opens no socket before its `start` or its first lookup."""

    def lookup(self, name: str) -> Answer:
        """The TLSA RRset of a normalized name. Blocks, for a limited time. Never raises."""


def check_loopback(address: str) -> None:
    """Raises ValueError unless `address` is a loopback address."""
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise ValueError(f"{address!r} is not an IP address") from error
    if not loopback:
        raise ValueError(
            f"plain DNS to {address} could be forged on the way; a loopback address or DNS over TLS is expected"
        )


async def _ask_once(resolver: Resolver, name: str) -> Answer:
    client = resolver.open()
    try:
        return await client.lookup(name)
    finally:
        await client.close()


@dataclass(frozen=True)
class LoopbackResolver:
    """A validating resolver on this host: UDP with retransmission, TCP when the answer is truncated.

    `timeout`: seconds for one lookup in all. `retransmit`: seconds before the first retransmission, doubled for each
    further one. `allow_sha1`: see `dane_radius.dns.interpret`.
    """

    address: str = "127.0.0.1"
    port: int = 53
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    retransmit: float = DEFAULT_RETRANSMIT_SECONDS
    allow_sha1: bool = False

    def __post_init__(self) -> None:
        check_loopback(self.address)

    def open(self) -> Client:
        """A client over UDP sockets that all lookups share."""
        return UdpClient(
            self.address,
            self.port,
            str(self),
            timeout=self.timeout,
            retransmit=self.retransmit,
            allow_sha1=self.allow_sha1,
        )

    def lookup(self, name: str) -> Answer:
        """As `Resolver.lookup`."""
        return asyncio.run(_ask_once(self, name))

    def __str__(self) -> str:
        return f"resolver {self.address} port {self.port}"


@dataclass(frozen=True)
class TlsResolver:
    """A validating resolver on another host, over DNS over TLS (RFC 7858), authenticated by name.

    The resolver's certificate must name `server_name`, and its CA must be in `ca_file` (None: the system's trust
    store). If authentication fails, the answer is `Unavailable`.
    """

    address: str
    server_name: str
    port: int = 853
    ca_file: str | None = None
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    allow_sha1: bool = False

    def open(self) -> Client:
        """A client over TLS connections that all lookups share."""
        return StreamClient(
            self.address,
            self.port,
            str(self),
            timeout=self.timeout,
            tls=tls_context(self.ca_file),
            server_name=self.server_name,
            allow_sha1=self.allow_sha1,
        )

    def lookup(self, name: str) -> Answer:
        """As `Resolver.lookup`."""
        return asyncio.run(_ask_once(self, name))

    def __str__(self) -> str:
        return f"resolver {self.server_name} ({self.address} port {self.port}, TLS)"

"""Asks NASes to end sessions, or to move them to another VLAN: whom, with which secret, and over which socket."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyrad.packet import CoARequest, DisconnectRequest

from trust_sync.config import NasConfig, read_secret
from trust_sync.radius import Reply, Request, Result, build_request, identifications, read_reply, verified
from trust_sync.sessions import Session

# The NAS understood us but did not like how the session was named: another way of naming it may do.
_NAMED_BADLY = frozenset({401, 402, 403, 404, 407, 508})
_IDENTIFIERS = 256
_MAX_DATAGRAM_OCTETS = 65535
# Datagrams taken from one socket before the event loop sees to the others.
_DATAGRAMS_AT_ONCE = 32


@dataclass(frozen=True, slots=True, repr=False)
class Nas:
    """Where requests for the sessions of a NAS go."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    secret: bytes
    port: int = 3799
    coa: bool = False

    def __repr__(self) -> str:
        return f"Nas({self.network}, port={self.port}, coa={self.coa})"


class NasDirectory:
    """Finds the secret for a NAS's address; the longest network prefix wins."""

    def __init__(self, nases: Sequence[Nas]) -> None:
        self._nases = sorted(nases, key=lambda nas: nas.network.prefixlen, reverse=True)

    @classmethod
    def from_config(cls, entries: Sequence[NasConfig], rows: Sequence[tuple[str, str]] = ()) -> NasDirectory:
        """The [[nas]] entries, and then rows of the `nas` table. Raises ConfigError for an unreadable secret file."""
        nases = [
            Nas(
                entry.network,
                (entry.secret or read_secret(entry.secret_file or "", "nas.secret_file")).encode(),
                entry.port,
                entry.coa,
            )
            for entry in entries
        ]
        for name, secret in rows:
            try:
                nases.append(Nas(ipaddress.ip_network(name, strict=False), secret.encode()))
            except ValueError:
                # A host name: FreeRADIUS allows it; sessions are stored by address, so it cannot be matched.
                continue
        return cls(nases)

    def find(self, address: str) -> Nas | None:
        try:
            wanted = ipaddress.ip_address(address)
        except ValueError:
            return None
        return next((nas for nas in self._nases if wanted in nas.network), None)


class _Channel:
    """A UDP socket to one NAS. A request's identifier (RFC 2865 section 3: one octet) is its own until it ends.

    Identifiers are given out in turn, so that a late reply seldom meets a new request of the same number; it would not
    be taken for an answer to that, as it does not verify.
    """

    def __init__(self, address: str, port: int) -> None:
        """Raises OSError."""
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
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def take(self) -> int:
        """An identifier that is free. Raises OSError when there is none."""
        for step in range(1, _IDENTIFIERS + 1):
            identifier = (self._last + step) % _IDENTIFIERS
            if identifier not in self._taken:
                self._taken.add(identifier)
                self._last = identifier
                return identifier
        raise OSError(f"{_IDENTIFIERS} requests are under way, no more have an identifier")

    def release(self, identifier: int) -> None:
        self._taken.discard(identifier)

    async def ask(self, request: Request, wait: float, tries: int, on_silence: Callable[[], None]) -> bytes | None:
        """The verified reply; None when there was none to `tries` transmissions, `wait` seconds apart.

        `on_silence` is called after each in vain.
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
            # A full buffer; or ICMP port unreachable for an earlier one, as when the NAS restarts. It is sent again.
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
            # Anything else on the port is not for us.
            if reply is not None and not answer.done():
                answer.set_result(reply)


class Disconnector:
    """Ends sessions, or changes their VLAN. `wall`: seconds since 1970, for Event-Timestamp.

    How many requests are under way at once is up to the caller; of one NAS, no more than 256.
    """

    def __init__(self, directory: NasDirectory, timeout: float, tries: int, wall: Callable[[], float]) -> None:
        self.directory = directory
        self._timeout, self._tries, self._wall = timeout, tries, wall
        self._channels: dict[tuple[str, int], _Channel] = {}
        self.on_silence: Callable[[str], None] = lambda nas: None

    async def end(self, session: Session) -> Reply:
        """Ask the session's NAS to end it. Never raises."""
        return await self._ask(DisconnectRequest, session, None)

    async def move(self, session: Session, vlan: str) -> Reply:
        """Ask the session's NAS to put it into another VLAN. Never raises."""
        return await self._ask(CoARequest, session, vlan)

    async def _ask(self, code: int, session: Session, vlan: str | None) -> Reply:
        nas = self.directory.find(session.nas)
        if nas is None:
            return Reply(Result.UNKNOWN_NAS, detail=f"no secret is configured for NAS {session.nas}")
        reply = Reply(Result.ERROR, detail="the session has neither Acct-Session-Id nor Calling-Station-Id")
        for attributes in identifications(session):
            try:
                reply = await self._exchange(code, attributes, session.nas, nas, vlan)
            except OSError as error:
                reply = Reply(Result.SILENT, detail=f"{session.nas}: {error.strerror or error}")
            except ValueError as error:
                reply = Reply(Result.ERROR, detail=str(error))
            if reply.result is not Result.NAK or reply.error_cause not in _NAMED_BADLY:
                break
        return reply

    async def _exchange(self, code: int, attributes: dict[str, str], address: str, nas: Nas, vlan: str | None) -> Reply:
        """Raises OSError, and ValueError for a request that cannot be encoded."""
        key = address, nas.port
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(*key)
        channel.users += 1
        identifier: int | None = None
        try:
            identifier = channel.take()
            request = build_request(code, attributes, nas.secret, int(self._wall()), vlan, identifier=identifier)
            octets = await channel.ask(request, self._timeout, self._tries, lambda: self.on_silence(address))
        finally:
            if identifier is not None:
                channel.release(identifier)
            channel.users -= 1
            if not channel.users:
                del self._channels[key]
                channel.close()
        if octets is None:
            detail = f"no answer from {address} port {nas.port} to {self._tries} transmissions"
            return Reply(Result.SILENT, detail=detail)
        return read_reply(octets)

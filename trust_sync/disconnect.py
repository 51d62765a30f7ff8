"""Disconnect-Requests and CoA-Requests to NASes (RFC 5176): encoded by pyrad, sent and retransmitted here."""

from __future__ import annotations

import asyncio
import io
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pyrad.dictionary import Dictionary
from pyrad.packet import (
    CoAACK,
    CoAPacket,
    CoARequest,
    DisconnectACK,
    DisconnectNAK,
    DisconnectRequest,
    PacketError,
)

from trust_sync.config import NasConfig, read_secret
from trust_sync.sessions import Session

_DICTIONARY = """\
ATTRIBUTE User-Name 1 string
ATTRIBUTE NAS-IP-Address 4 ipaddr
ATTRIBUTE Filter-Id 11 string
ATTRIBUTE Calling-Station-Id 31 string
ATTRIBUTE Acct-Session-Id 44 string
ATTRIBUTE Event-Timestamp 55 date
ATTRIBUTE Tunnel-Type 64 integer has_tag
ATTRIBUTE Tunnel-Medium-Type 65 integer has_tag
ATTRIBUTE Message-Authenticator 80 octets
ATTRIBUTE Tunnel-Private-Group-Id 81 string has_tag
ATTRIBUTE NAS-IPv6-Address 95 ipv6addr
ATTRIBUTE Error-Cause 101 integer
"""
_TUNNEL_VLAN, _TUNNEL_802 = 13, 6

# RFC 5176 section 3.5.
ERROR_CAUSES = {
    201: "Residual Session Context Removed",
    202: "Invalid EAP Packet",
    401: "Unsupported Attribute",
    402: "Missing Attribute",
    403: "NAS Identification Mismatch",
    404: "Invalid Request",
    405: "Unsupported Service",
    406: "Unsupported Extension",
    407: "Invalid Attribute Value",
    501: "Administratively Prohibited",
    502: "Request Not Routable",
    503: "Session Context Not Found",
    504: "Session Context Not Removable",
    505: "Other Proxy Processing Error",
    506: "Resources Unavailable",
    507: "Request Initiated",
    508: "Multiple Session Selection Unsupported",
}
SESSION_GONE = 503
# The NAS understood us but did not like how the session was named: another way of naming it may do.
_NAMED_BADLY = frozenset({401, 402, 403, 404, 407, 508})


class Result(StrEnum):
    """How a request went."""

    ACK = "ack"
    GONE = "gone"
    NAK = "nak"
    SILENT = "silent"
    UNKNOWN_NAS = "unknown_nas"
    ERROR = "error"

    @property
    def over(self) -> bool:
        """Whether the session is known to have ended."""
        return self in (Result.ACK, Result.GONE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the NAS said. `error_cause`: of RFC 5176 section 3.5, None when it gave none."""

    result: Result
    error_cause: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        if self.error_cause is not None:
            return f"{self.result}: {self.error_cause} {ERROR_CAUSES.get(self.error_cause, 'unknown')}"
        return f"{self.result}: {self.detail}" if self.detail else str(self.result)


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


def identifications(session: Session) -> list[dict[str, str]]:
    """The ways to name a session to its NAS, most exact first.

    All attributes of one way must match (RFC 5176 section 3). hostapd takes these and hardly any other: one more
    attribute, such as NAS-Port or Class, is a NAK 401.
    """
    address = ipaddress.ip_address(session.nas)
    nas = {"NAS-IPv6-Address" if address.version == 6 else "NAS-IP-Address": session.nas}
    ways: list[dict[str, str]] = []
    if session.session_id:
        ways.append({"Acct-Session-Id": session.session_id, **nas})
        ways.append({"Acct-Session-Id": session.session_id})
    if session.station:
        ways.append({"Calling-Station-Id": session.station})
    return ways


def build_request(
    code: int, attributes: dict[str, str], secret: bytes, timestamp: int, vlan: str | None = None
) -> CoAPacket:
    """A request with Event-Timestamp and Message-Authenticator, ready for `RequestPacket`."""
    packet = CoAPacket(code=code, secret=secret, dict=Dictionary(io.StringIO(_DICTIONARY)))
    for name, value in attributes.items():
        packet[name] = value
    if vlan is not None:
        packet["Tunnel-Type:0"] = _TUNNEL_VLAN
        packet["Tunnel-Medium-Type:0"] = _TUNNEL_802
        packet["Tunnel-Private-Group-Id:0"] = vlan
    packet["Event-Timestamp"] = timestamp
    packet.add_message_authenticator()
    return packet


class _Exchange(asyncio.DatagramProtocol):
    """Waits for the one datagram that is a valid reply; anything else on the port is not for us."""

    def __init__(self, request: CoAPacket, reply: asyncio.Future[CoAPacket]) -> None:
        self._request, self._reply = request, reply

    def datagram_received(self, data: bytes, addr: Any) -> None:
        try:
            reply = self._request.CreateReply(packet=data)
            genuine = self._request.VerifyReply(reply, data)
        except (PacketError, ValueError, KeyError, IndexError):
            return
        if genuine and not self._reply.done():
            self._reply.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        # ICMP port unreachable: the NAS may be starting. It counts as silence, and retransmission goes on.
        del exc


class Disconnector:
    """Ends sessions, or changes their VLAN. `wall`: seconds since 1970, for Event-Timestamp."""

    def __init__(self, directory: NasDirectory, timeout: float, tries: int, wall: Callable[[], float]) -> None:
        self.directory = directory
        self._timeout, self._tries, self._wall = timeout, tries, wall

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
                reply = await self._exchange(
                    build_request(code, attributes, nas.secret, int(self._wall()), vlan), session.nas, nas.port
                )
            except (OSError, ValueError, TypeError, KeyError, PacketError) as error:
                reply = Reply(Result.ERROR, detail=f"{type(error).__name__}: {error}")
            if reply.result is not Result.NAK or reply.error_cause not in _NAMED_BADLY:
                break
        return reply

    async def _exchange(self, request: CoAPacket, address: str, port: int) -> Reply:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[CoAPacket] = loop.create_future()
        # Encoded once: identifier, authenticator and Event-Timestamp stay for retransmissions (RFC 5176 section 2.3).
        octets = request.RequestPacket()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Exchange(request, answer), remote_addr=(address, port)
        )
        try:
            for _ in range(self._tries):
                transport.sendto(octets)
                done, _pending = await asyncio.wait([answer], timeout=self._timeout)
                if done:
                    return read_reply(answer.result())
        finally:
            transport.close()
            answer.cancel()
        return Reply(Result.SILENT, detail=f"no answer from {address} port {port} to {self._tries} transmissions")


def read_reply(reply: CoAPacket) -> Reply:
    """What a verified reply means."""
    cause = reply["Error-Cause"][0] if "Error-Cause" in reply else None
    if reply.code in (DisconnectACK, CoAACK):
        return Reply(Result.ACK)
    if reply.code == DisconnectNAK and cause == SESSION_GONE:
        return Reply(Result.GONE, cause)
    return Reply(Result.NAK, cause)

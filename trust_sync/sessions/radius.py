"""Disconnect-Requests, CoA-Requests and their replies (RFC 5176). pyrad encodes and decodes them. Pure.

A reply is verified before it is decoded, because anybody may have sent its octets. pyrad before 2.6, for example,
loops endlessly on an attribute of length 0 inside a Vendor-Specific attribute.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pyrad.dictionary import Dictionary
from pyrad.packet import (
    CoAACK,
    CoANAK,
    CoAPacket,
    CoARequest,
    DisconnectACK,
    DisconnectNAK,
    DisconnectRequest,
    PacketError,
)

from trust_sync.sessions.access import Access
from trust_sync.sessions.session import Session

_DICTIONARY = Dictionary(
    io.StringIO(
        """\
ATTRIBUTE User-Name 1 string
ATTRIBUTE NAS-IP-Address 4 ipaddr
ATTRIBUTE Filter-Id 11 string
ATTRIBUTE Session-Timeout 27 integer
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
    )
)
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

# RFC 2865 section 3.
_HEADER_OCTETS, _MAX_OCTETS = 20, 4096
_MESSAGE_AUTHENTICATOR = 80
# RFC 5176 section 2.3: the codes that may answer each request.
_REPLY_CODES = {DisconnectRequest: (DisconnectACK, DisconnectNAK), CoARequest: (CoAACK, CoANAK)}


class Result(StrEnum):
    """The result of a request."""

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

    @property
    def unreached(self) -> bool:
        """Whether the NAS was not reached. None of its sessions can be ended now."""
        return self in (Result.SILENT, Result.UNKNOWN_NAS)


@dataclass(frozen=True, slots=True)
class Reply:
    """A NAS's reply. error_cause: the Error-Cause (RFC 5176 section 3.5), None if absent."""

    result: Result
    error_cause: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        if self.error_cause is not None:
            return f"{self.result}: {self.error_cause} {ERROR_CAUSES.get(self.error_cause, 'unknown')}"
        return f"{self.result}: {self.detail}" if self.detail else str(self.result)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """An encoded request. A retransmission repeats the same octets (RFC 5176 section 2.3)."""

    octets: bytes
    secret: bytes

    @property
    def code(self) -> int:
        return self.octets[0]

    @property
    def identifier(self) -> int:
        return self.octets[1]

    @property
    def authenticator(self) -> bytes:
        return self.octets[4:_HEADER_OCTETS]


def identifications(session: Session) -> list[dict[str, str]]:
    """List the sets of attributes that identify a session to its NAS, most exact first.

    All attributes of a set must match (RFC 5176 section 3). hostapd accepts few other attributes: it answers one more,
    such as NAS-Port or Class, with NAK 401.
    """
    address = ipaddress.ip_address(session.nas)
    nas = {"NAS-IPv6-Address" if address.version == 6 else "NAS-IP-Address": session.nas}
    sets: list[dict[str, str]] = []
    if session.session_id:
        sets.append({"Acct-Session-Id": session.session_id, **nas})
        sets.append({"Acct-Session-Id": session.session_id})
    if session.station:
        sets.append({"Calling-Station-Id": session.station})
    return sets


def build_request(
    code: int,
    attributes: dict[str, str],
    secret: bytes,
    timestamp: int,
    access: Access | None = None,
    *,
    identifier: int = 0,
) -> Request:
    """Encode a request with Event-Timestamp and Message-Authenticator. Raises ValueError for an invalid value."""
    packet = CoAPacket(code=code, id=identifier, secret=secret, dict=_DICTIONARY)
    try:
        for name, value in attributes.items():
            packet[name] = value
        if access is not None:
            _add_access(packet, access)
        packet["Event-Timestamp"] = timestamp
        packet.add_message_authenticator()
        return Request(packet.RequestPacket(), secret)
    except (TypeError, KeyError, PacketError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _add_access(packet: CoAPacket, access: Access) -> None:
    if access.vlan is not None:
        packet["Tunnel-Type:0"] = _TUNNEL_VLAN
        packet["Tunnel-Medium-Type:0"] = _TUNNEL_802
        packet["Tunnel-Private-Group-Id:0"] = access.vlan
    if access.filter_id is not None:
        packet["Filter-Id"] = access.filter_id
    if access.session_timeout is not None:
        packet["Session-Timeout"] = access.session_timeout


def verified(request: Request, octets: bytes) -> bytes | None:
    """Verify that a datagram is a genuine reply to `request`. Returns it without padding; None: it is not genuine.

    Checks code, identifier and Response Authenticator (RFC 5176 section 2.3), and the Message-Authenticator if there is
    one (section 3.4), on the octets as received. Decodes nothing, and never raises.
    """
    if len(octets) < _HEADER_OCTETS:
        return None
    length = int.from_bytes(octets[2:4], "big")
    if not _HEADER_OCTETS <= length <= min(len(octets), _MAX_OCTETS):
        return None
    # RFC 2865 section 3: octets beyond the length are padding.
    octets = octets[:length]
    if octets[0] not in _REPLY_CODES.get(request.code, ()) or octets[1] != request.identifier:
        return None
    signed = octets[:4] + request.authenticator + octets[_HEADER_OCTETS:]
    # RADIUS defines MD5 here.
    expected = hashlib.md5(signed + request.secret).digest()  # noqa: S324
    if not hmac.compare_digest(expected, octets[4:_HEADER_OCTETS]):
        return None
    try:
        places = [at for kind, at, _ in _attributes(octets) if kind == _MESSAGE_AUTHENTICATOR]
    except ValueError:
        return None
    if places and not _message_authenticator_holds(request, signed, places):
        return None
    return octets


def _attributes(octets: bytes) -> Iterator[tuple[int, int, int]]:
    """List type, offset of the value and its length for each attribute. Raises ValueError for an invalid length."""
    at = _HEADER_OCTETS
    while at < len(octets):
        if at + 2 > len(octets) or octets[at + 1] < 2 or at + octets[at + 1] > len(octets):
            raise ValueError(f"the attribute at octet {at} has no possible length")
        yield octets[at], at + 2, octets[at + 1] - 2
        at += octets[at + 1]


def _message_authenticator_holds(request: Request, signed: bytes, places: list[int]) -> bool:
    """Verify HMAC-MD5 over the reply with the Request Authenticator, and zeros as value (RFC 5176 section 3.4)."""
    at = places[0]
    if len(places) != 1 or signed[at - 1] != 18:
        return False
    blanked = signed[:at] + bytes(16) + signed[at + 16 :]
    return hmac.compare_digest(hmac.digest(request.secret, blanked, "md5"), signed[at : at + 16])


def read_reply(octets: bytes) -> Reply:
    """Interpret a verified reply. An Error-Cause that cannot be decoded counts as absent."""
    code = octets[0]
    if code in (DisconnectACK, CoAACK):
        return Reply(Result.ACK)
    cause = _error_cause(octets)
    if code == DisconnectNAK and cause == SESSION_GONE:
        return Reply(Result.GONE, cause)
    return Reply(Result.NAK, cause)


def _error_cause(octets: bytes) -> int | None:
    try:
        packet = CoAPacket(packet=octets, dict=_DICTIONARY)
        return int(packet["Error-Cause"][0]) if "Error-Cause" in packet else None
    except (PacketError, ValueError, KeyError, IndexError, TypeError, struct.error):
        return None

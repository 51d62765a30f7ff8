"""Disconnect- and CoA-Requests and their replies as octets (RFC 5176): encoded and decoded by pyrad. Pure.

A reply is decoded after it has been verified. Until then it is octets that anybody may have sent, and a decoder is a
large surface: pyrad before 2.6 never returns from an attribute of length 0 inside a Vendor-Specific one.
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

from trust_sync.sessions import Session

_DICTIONARY = Dictionary(
    io.StringIO(
        """\
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
# RFC 5176 section 2.3: a Disconnect-Request is answered by one of two codes, a CoA-Request by one of two others.
_ANSWERS = {DisconnectRequest: (DisconnectACK, DisconnectNAK), CoARequest: (CoAACK, CoANAK)}


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

    @property
    def unreached(self) -> bool:
        """Whether the NAS itself was not reached: then none of its sessions can be ended now."""
        return self in (Result.SILENT, Result.UNKNOWN_NAS)


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
class Request:
    """An encoded request: the octets are the same for each transmission (RFC 5176 section 2.3)."""

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
    code: int,
    attributes: dict[str, str],
    secret: bytes,
    timestamp: int,
    vlan: str | None = None,
    *,
    identifier: int = 0,
) -> Request:
    """A request with Event-Timestamp and Message-Authenticator. Raises ValueError for a value that does not fit."""
    packet = CoAPacket(code=code, id=identifier, secret=secret, dict=_DICTIONARY)
    try:
        for name, value in attributes.items():
            packet[name] = value
        if vlan is not None:
            packet["Tunnel-Type:0"] = _TUNNEL_VLAN
            packet["Tunnel-Medium-Type:0"] = _TUNNEL_802
            packet["Tunnel-Private-Group-Id:0"] = vlan
        packet["Event-Timestamp"] = timestamp
        packet.add_message_authenticator()
        return Request(packet.RequestPacket(), secret)
    except (TypeError, KeyError, PacketError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def verified(request: Request, octets: bytes) -> bytes | None:
    """The reply in a datagram without its padding, if it is a genuine one to `request`. Never raises, decodes nothing.

    Code, identifier, Response Authenticator (RFC 5176 section 2.3), and Message-Authenticator where there is one
    (section 3.4): over the octets as they came.
    """
    if len(octets) < _HEADER_OCTETS:
        return None
    length = int.from_bytes(octets[2:4], "big")
    if not _HEADER_OCTETS <= length <= min(len(octets), _MAX_OCTETS):
        return None
    # RFC 2865 section 3: octets beyond the length are padding.
    octets = octets[:length]
    if octets[0] not in _ANSWERS.get(request.code, ()) or octets[1] != request.identifier:
        return None
    signed = octets[:4] + request.authenticator + octets[_HEADER_OCTETS:]
    # MD5 is what RADIUS has.
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
    """Type, offset of the value, and its length, of each attribute. Raises ValueError where lengths do not add up."""
    at = _HEADER_OCTETS
    while at < len(octets):
        if at + 2 > len(octets) or octets[at + 1] < 2 or at + octets[at + 1] > len(octets):
            raise ValueError(f"the attribute at octet {at} has no possible length")
        yield octets[at], at + 2, octets[at + 1] - 2
        at += octets[at + 1]


def _message_authenticator_holds(request: Request, signed: bytes, places: list[int]) -> bool:
    """RFC 5176 section 3.4: HMAC-MD5 with the Request Authenticator in place, and the attribute itself zero."""
    at = places[0]
    if len(places) != 1 or signed[at - 1] != 18:
        return False
    blanked = signed[:at] + bytes(16) + signed[at + 16 :]
    return hmac.compare_digest(hmac.digest(request.secret, blanked, "md5"), signed[at : at + 16])


def read_reply(octets: bytes) -> Reply:
    """What a verified reply means. An Error-Cause that cannot be decoded counts as none."""
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

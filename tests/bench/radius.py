"""RADIUS as a NAS speaks it for EAP: Access-Requests, and the checks on the responses. No sockets."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import md5

ACCESS_REQUEST, ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_CHALLENGE = 1, 2, 3, 11
USER_NAME, SERVICE_TYPE, FRAMED_MTU, STATE = 1, 6, 12, 24
CALLED_STATION_ID, CALLING_STATION_ID, NAS_IDENTIFIER, NAS_PORT_TYPE = 30, 31, 32, 61
EAP_MESSAGE, MESSAGE_AUTHENTICATOR = 79, 80

_HEADER_OCTETS = 20
_MAX_VALUE_OCTETS = 253
_EMPTY_MESSAGE_AUTHENTICATOR = bytes((MESSAGE_AUTHENTICATOR, 18)) + bytes(16)


class IgnoredPacket(Exception):
    """A packet that RFC 2865 or RFC 3579 tells a NAS to discard silently. The text says why."""


@dataclass(frozen=True)
class Response:
    """A response whose authenticators were right. `eap`: the EAP-Message attributes in a row; `state`: None without."""

    code: int
    eap: bytes
    state: bytes | None


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute. Raises ValueError when the value is longer than 253 octets."""
    if len(value) > _MAX_VALUE_OCTETS:
        raise ValueError(f"attribute {kind}: {len(value)} octets, at most {_MAX_VALUE_OCTETS}")
    return bytes((kind, len(value) + 2)) + value


def eap_message(eap: bytes) -> bytes:
    """An EAP packet in as many EAP-Message attributes as it takes (RFC 3579 section 3.1)."""
    pieces = range(0, len(eap), _MAX_VALUE_OCTETS)
    return b"".join(attribute(EAP_MESSAGE, eap[start : start + _MAX_VALUE_OCTETS]) for start in pieces)


def access_request(identifier: int, authenticator: bytes, attributes: bytes, secret: bytes) -> bytes:
    """An Access-Request with its Message-Authenticator (RFC 3579 section 3.2) before the given attributes."""
    length = _HEADER_OCTETS + len(_EMPTY_MESSAGE_AUTHENTICATOR) + len(attributes)
    head = bytes((ACCESS_REQUEST, identifier, length >> 8, length & 255)) + authenticator
    digest = hmac.digest(secret, head + _EMPTY_MESSAGE_AUTHENTICATOR + attributes, "md5")
    return head + _EMPTY_MESSAGE_AUTHENTICATOR[:2] + digest + attributes


def read_response(packet: bytes, request: bytes, secret: bytes) -> Response:
    """Check and read the response to `request`.

    Raises IgnoredPacket unless the identifier is the request's, the Response Authenticator (RFC 2865 section 3) is
    right, and a right Message-Authenticator stands beside it: all of a conversation's responses carry EAP.
    """
    if len(packet) < _HEADER_OCTETS:
        raise IgnoredPacket("shorter than a RADIUS header")
    length = packet[2] << 8 | packet[3]
    if not _HEADER_OCTETS <= length <= len(packet):
        raise IgnoredPacket(f"length {length} in a packet of {len(packet)} octets")
    packet = packet[:length]
    if packet[1] != request[1]:
        raise IgnoredPacket(f"identifier {packet[1]}, not {request[1]}")
    if packet[0] not in (ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_CHALLENGE):
        raise IgnoredPacket(f"code {packet[0]}")
    head, body = packet[:4] + request[4:_HEADER_OCTETS], packet[_HEADER_OCTETS:]
    if not hmac.compare_digest(md5(head + body + secret, usedforsecurity=False).digest(), packet[4:_HEADER_OCTETS]):
        raise IgnoredPacket("the Response Authenticator is wrong")
    return _read_attributes(head, body, secret)


def _read_attributes(head: bytes, body: bytes, secret: bytes) -> Response:
    eap = b""
    state = None
    place = None
    at = 0
    while at < len(body):
        size = body[at + 1] if at + 1 < len(body) else 0
        if size < 2 or at + size > len(body):
            raise IgnoredPacket(f"attribute of length {size} at octet {at}")
        if body[at] == EAP_MESSAGE:
            eap += body[at + 2 : at + size]
        elif body[at] == STATE:
            state = body[at + 2 : at + size]
        elif body[at] == MESSAGE_AUTHENTICATOR:
            if size != len(_EMPTY_MESSAGE_AUTHENTICATOR) or place is not None:
                raise IgnoredPacket("not one Message-Authenticator of 16 octets")
            place = at + 2
        at += size
    if place is None:
        raise IgnoredPacket("there is no Message-Authenticator")
    digest = hmac.digest(secret, head + body[:place] + bytes(16) + body[place + 16 :], "md5")
    if not hmac.compare_digest(digest, body[place : place + 16]):
        raise IgnoredPacket("the Message-Authenticator is wrong")
    return Response(head[0], eap, state)


def response(code: int, request: bytes, attributes: bytes, secret: bytes) -> bytes:
    """What a server answers to `request`, with both authenticators."""
    length = _HEADER_OCTETS + len(_EMPTY_MESSAGE_AUTHENTICATOR) + len(attributes)
    head = bytes((code, request[1], length >> 8, length & 255))
    signed = head + request[4:_HEADER_OCTETS]
    digest = hmac.digest(secret, signed + _EMPTY_MESSAGE_AUTHENTICATOR + attributes, "md5")
    body = _EMPTY_MESSAGE_AUTHENTICATOR[:2] + digest + attributes
    return head + md5(signed + body + secret, usedforsecurity=False).digest() + body

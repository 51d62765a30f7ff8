"""Requests and replies as octets, genuine and forged."""

from __future__ import annotations

import hashlib
import hmac

from trust_sync.sessions.radius import Request

DISCONNECT, DISCONNECT_ACK, DISCONNECT_NAK, COA, COA_ACK, COA_NAK = 40, 41, 42, 43, 44, 45


SECRET = b"s3cret"


# Vendor-Specific (26) of vendor 9 with an attribute of length 0, on which pyrad before 2.6 loops endlessly.
ENDLESS_VSA = bytes([26, 12, 0, 0, 0, 9, 1, 0, 0, 0, 0, 0])


ODD_ATTRIBUTES = {
    "vendor attribute of length 0": ENDLESS_VSA,
    "vendor attribute of length 1": bytes([26, 12, 0, 0, 0, 9, 1, 1, 0, 0, 0, 0]),
    "vendor attribute that is too long": bytes([26, 12, 0, 0, 0, 9, 1, 200, 0, 0, 0, 0]),
    "vendor without attributes": bytes([26, 6, 0, 0, 0, 9]),
    "vendor cut short": bytes([26, 4, 0, 0]),
    "Error-Cause of 3 octets": bytes([101, 5, 0, 0, 1]),
    "User-Name that is not UTF-8": bytes([1, 4, 0xFF, 0xFE]),
}


# These make the packet itself invalid (RFC 2865 section 5: the length includes type and length).
BROKEN_ATTRIBUTES = {
    "attribute of length 0": bytes([1, 0]),
    "attribute of length 1": bytes([1, 1, 0]),
    "attribute that is too long": bytes([1, 200, 0]),
    "half an attribute": bytes([1]),
}


def reply(
    request: Request, code: int, attributes: bytes = b"", *, secret: bytes = SECRET, identifier: int | None = None
) -> bytes:
    """A reply with a Response Authenticator made with `secret` (RFC 5176 section 2.3)."""
    head = bytes([code, request.identifier if identifier is None else identifier])
    head += (20 + len(attributes)).to_bytes(2, "big")
    digest = hashlib.md5(head + request.authenticator + attributes + secret).digest()  # noqa: S324  # RADIUS's own
    return head + digest + attributes


def signed(request: Request, code: int, attributes: bytes = b"", *, key: bytes = SECRET, cut: int = 16) -> bytes:
    """Attributes with a Message-Authenticator before them (RFC 5176 section 3.4)."""
    blank = bytes([80, 2 + cut]) + bytes(cut) + attributes
    head = bytes([code, request.identifier]) + (20 + len(blank)).to_bytes(2, "big")
    mac = hmac.digest(key, head + request.authenticator + blank, "md5")
    return bytes([80, 2 + cut]) + mac[:cut] + attributes


def cause(number: int) -> bytes:
    return bytes([101, 6]) + number.to_bytes(4, "big")

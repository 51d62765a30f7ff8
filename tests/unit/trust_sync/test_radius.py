"""Replies of NASes as octets: a genuine one is understood, and a forged one is never decoded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust_sync.radius_packets import (
    BROKEN_ATTRIBUTES,
    COA,
    COA_ACK,
    COA_NAK,
    DISCONNECT,
    DISCONNECT_ACK,
    DISCONNECT_NAK,
    ODD_ATTRIBUTES,
    SECRET,
    cause,
    reply,
    signed,
)
from trust_sync.sessions import Access, Session
from trust_sync.sessions.radius import Reply, Request, Result, build_request, identifications, read_reply, verified

SESSION = Session("u1", "0123456789ABCDEF", "a1._device.example.net", "127.0.0.1", "02-00-00-00-00-01")


REQUEST = build_request(DISCONNECT, {"Acct-Session-Id": "S1"}, SECRET, 1_700_000_000, identifier=7)


COA_REQUEST = build_request(COA, {"Acct-Session-Id": "S1"}, SECRET, 1_700_000_000, Access("42"), identifier=7)


def understood(request: Request, octets: bytes) -> Reply | None:
    genuine = verified(request, octets)
    return None if genuine is None else read_reply(genuine)


@pytest.mark.parametrize(
    ("request_", "code", "attributes", "expected"),
    [
        (REQUEST, DISCONNECT_ACK, b"", Reply(Result.ACK)),
        (REQUEST, DISCONNECT_NAK, cause(503), Reply(Result.GONE, 503)),
        (REQUEST, DISCONNECT_NAK, cause(501), Reply(Result.NAK, 501)),
        (REQUEST, DISCONNECT_NAK, b"", Reply(Result.NAK)),
        (COA_REQUEST, COA_ACK, b"", Reply(Result.ACK)),
        (COA_REQUEST, COA_NAK, cause(503), Reply(Result.NAK, 503)),
        (COA_REQUEST, COA_NAK, cause(405), Reply(Result.NAK, 405)),
    ],
)
def test_a_genuine_reply_is_understood_with_and_without_message_authenticator(
    request_: Request, code: int, attributes: bytes, expected: Reply
) -> None:
    assert understood(request_, reply(request_, code, attributes)) == expected
    assert understood(request_, reply(request_, code, signed(request_, code, attributes))) == expected
    # RFC 2865 section 3: what is beyond the length is padding.
    assert understood(request_, reply(request_, code, attributes) + b"padding") == expected


@pytest.mark.parametrize("code", [*range(40), 43, 44, 45, 46, 255])
def test_only_the_two_codes_of_a_disconnect_answer_a_disconnect(code: int) -> None:
    """A CoA-ACK (44) confirms a change. Mistaken for a Disconnect-ACK (41), it would leave the session alive."""
    assert understood(REQUEST, reply(REQUEST, code)) is None


@pytest.mark.parametrize("code", [DISCONNECT, DISCONNECT_ACK, DISCONNECT_NAK, COA, 2])
def test_only_the_two_codes_of_a_coa_answer_a_coa(code: int) -> None:
    assert understood(COA_REQUEST, reply(COA_REQUEST, code)) is None


def test_a_reply_to_another_request_or_by_another_hand_is_none() -> None:
    other = build_request(DISCONNECT, {"Acct-Session-Id": "S2"}, SECRET, 1_700_000_000, identifier=7)
    later = build_request(DISCONNECT, {"Acct-Session-Id": "S1"}, SECRET, 1_700_000_001, identifier=7)
    good = reply(REQUEST, DISCONNECT_ACK)
    for octets in (
        reply(other, DISCONNECT_ACK),
        reply(later, DISCONNECT_ACK),
        reply(REQUEST, DISCONNECT_ACK, secret=b"guess"),
        reply(REQUEST, DISCONNECT_ACK, identifier=8),
        REQUEST.octets,
        good[:-1],
        good[:19],
        b"",
        good[:2] + (19).to_bytes(2, "big") + good[4:],
        good[:2] + (21).to_bytes(2, "big") + good[4:],
        good[:2] + (5000).to_bytes(2, "big") + good[4:] + bytes(5000),
        good[:4] + bytes(16),
    ):
        assert understood(REQUEST, octets) is None, octets[:24]
    for position in range(20):
        assert understood(REQUEST, good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]) is None


@pytest.mark.parametrize(
    "attributes",
    [
        signed(REQUEST, DISCONNECT_ACK, key=b"guess"),
        signed(REQUEST, DISCONNECT_NAK),
        signed(COA_REQUEST, DISCONNECT_ACK),
        signed(REQUEST, DISCONNECT_ACK, cut=15),
        signed(REQUEST, DISCONNECT_ACK, cut=0),
        bytes([80, 18]) + bytes(16),
        signed(REQUEST, DISCONNECT_ACK) * 2,
    ],
)
def test_a_message_authenticator_that_does_not_hold_makes_the_reply_none(attributes: bytes) -> None:
    """The Response Authenticator is valid in each case, but does not replace a Message-Authenticator."""
    assert understood(REQUEST, reply(REQUEST, DISCONNECT_ACK, attributes)) is None


@pytest.mark.parametrize("what", ODD_ATTRIBUTES)
def test_a_genuine_reply_with_odd_attributes_still_counts(what: str) -> None:
    odd = ODD_ATTRIBUTES[what]
    assert understood(REQUEST, reply(REQUEST, DISCONNECT_ACK, odd)) == Reply(Result.ACK)
    assert understood(REQUEST, reply(REQUEST, DISCONNECT_ACK, signed(REQUEST, DISCONNECT_ACK, odd))) == Reply(
        Result.ACK
    )
    if "Error-Cause" not in what:
        assert understood(REQUEST, reply(REQUEST, DISCONNECT_NAK, odd + cause(501))) == Reply(Result.NAK, 501)
        assert understood(REQUEST, reply(REQUEST, DISCONNECT_NAK, cause(503) + odd)) == Reply(Result.GONE, 503)
    else:
        assert understood(REQUEST, reply(REQUEST, DISCONNECT_NAK, odd)) == Reply(Result.NAK)


@pytest.mark.parametrize("what", BROKEN_ATTRIBUTES)
def test_a_reply_that_cannot_be_taken_apart_is_none(what: str) -> None:
    assert understood(REQUEST, reply(REQUEST, DISCONNECT_ACK, BROKEN_ATTRIBUTES[what])) is None


@given(st.binary(max_size=80))
def test_any_octets_are_no_reply(octets: bytes) -> None:
    assert verified(REQUEST, octets) is None
    assert verified(REQUEST, bytes([DISCONNECT_ACK, 7, 0, 20 + len(octets)]) + bytes(16) + octets) is None


def test_what_identifies_a_session_is_what_hostapd_takes() -> None:
    for way in identifications(SESSION):
        assert set(way) <= {"Acct-Session-Id", "NAS-IP-Address", "NAS-IPv6-Address", "Calling-Station-Id"}
        octets = build_request(40, way, b"s", 1_700_000_000).octets
        types, offset = [], 20
        while offset < len(octets):
            types.append(octets[offset])
            offset += octets[offset + 1]
        # RFC 5176: identification, Event-Timestamp, Message-Authenticator, and nothing else.
        assert set(types) <= {4, 31, 44, 55, 80, 95}
        assert {55, 80} <= set(types)

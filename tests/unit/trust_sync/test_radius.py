"""Replies of NASes as octets: genuine ones are understood, and nothing of the others is decoded, however it is made."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.packet import CoAPacket, Packet

from trust_sync.config import NasConfig
from trust_sync.disconnect import Disconnector, NasDirectory
from trust_sync.radius import Reply, Request, Result, build_request, read_reply, verified
from trust_sync.sessions import Session

SECRET = b"s3cret"
SESSION = Session("S1", "u1", "a1._device.example.net", "127.0.0.1", "02-00-00-00-00-01")
DISCONNECT, DISCONNECT_ACK, DISCONNECT_NAK, COA, COA_ACK, COA_NAK = 40, 41, 42, 43, 44, 45
REQUEST = build_request(DISCONNECT, {"Acct-Session-Id": "S1"}, SECRET, 1_700_000_000, identifier=7)
COA_REQUEST = build_request(COA, {"Acct-Session-Id": "S1"}, SECRET, 1_700_000_000, "42", identifier=7)

# Vendor-Specific (26), vendor 9, and in it an attribute of length 0: pyrad before 2.6 never comes to its end.
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
# At this level the packet itself cannot be taken apart (RFC 2865 section 5: the length counts type and length).
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
    """A CoA-ACK (44) says that a session has changed; taken for a Disconnect-ACK (41) it would leave it alive."""
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
    """The Response Authenticator is good each time: MD5 alone must not be enough where there is more."""
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


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What pyrad was given to decode."""
    seen: list[bytes] = []
    decode: Callable[[Packet, bytes], None] = CoAPacket.DecodePacket

    def note(self: Packet, packet: bytes) -> None:
        seen.append(packet)
        decode(self, packet)

    monkeypatch.setattr(CoAPacket, "DecodePacket", note)
    return seen


@given(st.binary(max_size=80))
def test_any_octets_are_no_reply(octets: bytes) -> None:
    assert verified(REQUEST, octets) is None
    assert verified(REQUEST, bytes([DISCONNECT_ACK, 7, 0, 20 + len(octets)]) + bytes(16) + octets) is None


# over a socket


@pytest.fixture
def nas() -> Iterator[tuple[socket.socket, list[Callable[[Request], list[bytes]]]]]:
    """A socket that answers each request with the datagrams that a test chooses."""
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("127.0.0.1", 0))
    answers: list[Callable[[Request], list[bytes]]] = []

    def run() -> None:
        while True:
            octets, peer = own.recvfrom(65535)
            if not octets:
                return
            for datagram in answers[0](Request(octets, SECRET)):
                own.sendto(datagram, peer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield own, answers
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"", own.getsockname())
    thread.join(5)
    own.close()


def disconnector(own: socket.socket, tries: int = 2) -> Disconnector:
    directory = NasDirectory.from_config([NasConfig(address="127.0.0.0/8", secret="s3cret", port=own.getsockname()[1])])
    return Disconnector(directory, 0.2, tries, lambda: 1_700_000_000.0)


def forgeries(request: Request) -> list[bytes]:
    """Datagrams that are not from the NAS, each of which would hang or mislead a decoder that came first."""
    bodies = [ENDLESS_VSA, *ODD_ATTRIBUTES.values(), *BROKEN_ATTRIBUTES.values(), b""]
    wrong = [reply(request, code, body, secret=b"guess") for body in bodies for code in (DISCONNECT_ACK, COA_ACK)]
    return [*wrong, b"", b"\x29", bytes(20), bytes(4096), request.octets]


async def test_forged_replies_are_passed_over_undecoded_and_the_genuine_one_counts(
    nas: tuple[socket.socket, list[Callable[[Request], list[bytes]]]], decoded: list[bytes]
) -> None:
    own, answers = nas
    genuine: list[bytes] = []

    def answer(request: Request) -> list[bytes]:
        genuine.append(reply(request, DISCONNECT_NAK, ENDLESS_VSA + cause(501)))
        return [*forgeries(request), genuine[-1], *forgeries(request)]

    answers.append(answer)
    async with asyncio.timeout(20):
        found = await disconnector(own).end(SESSION)
    assert found == Reply(Result.NAK, 501)
    assert set(decoded) == set(genuine)


async def test_forged_replies_alone_are_silence_and_nothing_is_decoded(
    nas: tuple[socket.socket, list[Callable[[Request], list[bytes]]]], decoded: list[bytes]
) -> None:
    own, answers = nas
    answers.append(forgeries)
    async with asyncio.timeout(20):
        found = await disconnector(own).end(SESSION)
    assert found.result is Result.SILENT
    assert decoded == []


async def test_a_genuine_coa_ack_does_not_end_a_session(
    nas: tuple[socket.socket, list[Callable[[Request], list[bytes]]]],
) -> None:
    own, answers = nas
    answers.append(lambda request: [reply(request, COA_ACK)])
    async with asyncio.timeout(20):
        assert (await disconnector(own).end(SESSION)).result is Result.SILENT
        answers[0] = lambda request: [reply(request, DISCONNECT_ACK)]
        assert (await disconnector(own).move(SESSION, "42")).result is Result.SILENT
        assert (await disconnector(own).end(SESSION)).result is Result.ACK


async def test_many_requests_to_one_nas_share_a_socket_and_never_an_identifier(
    nas: tuple[socket.socket, list[Callable[[Request], list[bytes]]]],
) -> None:
    own, answers = nas
    seen: list[int] = []
    held: list[bytes] = []

    def answer(request: Request) -> list[bytes]:
        seen.append(request.identifier)
        held.append(reply(request, DISCONNECT_ACK))
        if len(held) % 100:
            return []
        # In the opposite order of the requests.
        answers_now, held[:] = held[::-1], []
        return answers_now

    answers.append(answer)
    sender = disconnector(own, tries=1)
    sender._timeout = 10.0
    async with asyncio.timeout(60):
        for _ in range(5):
            replies = await asyncio.gather(
                *(sender.end(Session(f"S{n}", f"u{n}", "a1.example.net", "127.0.0.1", "")) for n in range(100))
            )
            assert {item.result for item in replies} == {Result.ACK}
    assert all(len(set(seen[n : n + 100])) == 100 for n in range(0, 500, 100))
    assert sender._channels == {}


async def test_an_identifier_is_not_given_to_another_request_before_the_first_one_has_ended(
    nas: tuple[socket.socket, list[Callable[[Request], list[bytes]]]],
) -> None:
    own, answers = nas
    seen: list[int] = []
    held: list[Request] = []
    begun = threading.Event()

    def answer(request: Request) -> list[bytes]:
        seen.append(request.identifier)
        if len(seen) == 1:
            held.append(request)
            begun.set()
            return []
        # The first one is answered last, after all other identifiers have been used.
        late = [reply(held[0], DISCONNECT_ACK)] if len(seen) == 301 else []
        return [reply(request, DISCONNECT_ACK), *late]

    answers.append(answer)
    sender = disconnector(own, tries=1)
    sender._timeout = 20.0
    async with asyncio.timeout(60):
        first = asyncio.create_task(sender.end(SESSION))
        await asyncio.to_thread(begun.wait, 20)
        for n in range(300):
            other = Session(f"T{n}", f"v{n}", "a1.example.net", "127.0.0.1", "")
            assert (await sender.end(other)).result is Result.ACK
        assert (await first).result is Result.ACK
    assert seen.count(seen[0]) == 1

"""The Disconnector: what NASes answer, over real sockets, and what it makes of forged answers."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from pyrad.packet import CoAPacket, Packet

from tests.unit.trust_sync.nas import Nas
from tests.unit.trust_sync.radius_packets import (
    BROKEN_ATTRIBUTES,
    COA_ACK,
    DISCONNECT_ACK,
    DISCONNECT_NAK,
    ENDLESS_VSA,
    ODD_ATTRIBUTES,
    SECRET,
    cause,
    reply,
)
from trust_sync.sessions import Access, Session
from trust_sync.sessions.disconnector import Disconnector
from trust_sync.sessions.nas_directory import NasDirectory
from trust_sync.sessions.radius import Reply, Request, Result
from trust_sync.shared import NasConfig

SESSION = Session("u1", "0123456789ABCDEF", "a1._device.example.net", "127.0.0.1", "02-00-00-00-00-01")


@pytest.mark.parametrize(
    ("replies", "result", "requests"),
    [
        ([None], Result.ACK, 1),
        ([503], Result.GONE, 1),
        ([403, None], Result.ACK, 2),
        ([401, 401, None], Result.ACK, 3),
        ([401], Result.NAK, 3),
        ([501], Result.NAK, 1),
        ([504], Result.NAK, 1),
    ],
)
async def test_what_the_nas_says_is_understood(replies: list[int | None], result: Result, requests: int) -> None:
    with Nas(replies) as nas:
        reply = await nas.disconnector().end(SESSION)
    assert reply.result is result
    assert len(nas.requests) == requests


async def test_retransmissions_are_the_same_octets() -> None:
    with Nas([None], drop=2) as nas:
        reply = await nas.disconnector().end(SESSION)
    assert reply.result is Result.ACK
    assert len(nas.requests) == 3
    assert len(set(nas.requests)) == 1


async def test_silence_and_wrong_secrets_are_silence() -> None:
    with Nas([None], drop=99) as nas:
        assert (await nas.disconnector().end(SESSION)).result is Result.SILENT
    # A reply that is signed with another secret is ignored.
    with Nas([None], secret=b"other") as nas:
        assert (await nas.disconnector().end(SESSION)).result is Result.SILENT


async def test_a_nas_without_a_secret_is_said_so() -> None:
    reply = await Disconnector(NasDirectory([]), 0.1, 1, lambda: 0.0).end(SESSION)
    assert reply.result is Result.UNKNOWN_NAS
    assert not reply.result.over


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The packets that pyrad was given to decode."""
    seen: list[bytes] = []
    decode: Callable[[Packet, bytes], None] = CoAPacket.DecodePacket

    def note(self: Packet, packet: bytes) -> None:
        seen.append(packet)
        decode(self, packet)

    monkeypatch.setattr(CoAPacket, "DecodePacket", note)
    return seen


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
    """Forged datagrams. Each would hang or mislead a decoder that did not verify first."""
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
        assert (await disconnector(own).move(SESSION, Access("42"))).result is Result.SILENT
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
        # The replies are in the opposite order of the requests.
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
    assert sender._sockets == {}


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
        # The first request is answered last, after all other identifiers have been used.
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

"""The resolver's clients against a misbehaving server. tests/integration has real servers."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dane_radius.core.answers import Answer, Secure, Unavailable
from dane_radius.dns.resolver import LoopbackResolver, TlsResolver, check_loopback
from dane_radius.dns.udp import UdpClient
from dane_radius.dns.wire import decode_name
from tests.harness.process import free_port
from tests.unit.dane_radius.test_dns_wire import AD, GOOD_RECORD, NAME, QR, TC, cname, message, tlsa

GOOD = Secure((GOOD_RECORD,), 300)
WAIT = 10.0


@contextmanager
def server(respond: Callable[[bytes], list[bytes]], stream: bytes | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Answers a datagram with what `respond` returns for the query's id octets, and a connection with `stream`."""
    port, queries = free_port(), []
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))
    tcp = socket.create_server(("127.0.0.1", port))

    def datagrams() -> None:
        while True:
            query, peer = udp.recvfrom(4096)
            if not query:
                return
            queries.append(query)
            for answer in respond(query[:2]):
                udp.sendto(answer, peer)

    def connections() -> None:
        while True:
            try:
                connection, _ = tcp.accept()
            except OSError:
                return
            with connection:
                query = connection.recv(4096)
                if stream is not None:
                    answer = query[2:4] + stream[2:]
                    connection.sendall(struct.pack("!H", len(answer)) + answer)

    threads = [threading.Thread(target=target) for target in (datagrams, connections)]
    for thread in threads:
        thread.start()
    try:
        yield port, queries
    finally:
        tcp.shutdown(socket.SHUT_RDWR)
        tcp.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", port))
        for thread in threads:
            thread.join(WAIT)
        udp.close()


ANSWER = message([tlsa()])
CONTRADICTION = message([cname(NAME, "b.example"), cname(NAME, "c.example")])


def test_the_right_answer_among_invalid_datagrams_is_used() -> None:
    def respond(query_id: bytes) -> list[bytes]:
        wrong = bytes([query_id[0] ^ 1, query_id[1]])
        other = message([tlsa("x.example")], questions=[("x.example", 52, 1)])
        return [b"", b"\0", b"\xff" * 600, wrong + ANSWER[2:], query_id + other[2:], query_id + ANSWER[2:]]

    with server(respond) as (port, queries):
        assert LoopbackResolver(port=port, timeout=WAIT).lookup(NAME) == GOOD
        assert len(queries) == 1


def test_an_answer_that_contradicts_itself_is_final() -> None:
    with server(lambda query_id: [query_id + CONTRADICTION[2:]]) as (port, queries):
        answer = LoopbackResolver(port=port, timeout=WAIT, retransmit=WAIT).lookup(NAME)
        assert isinstance(answer, Unavailable)
        assert "two CNAMEs" in answer.detail
        assert len(queries) == 1


def test_a_query_without_an_answer_is_retransmitted() -> None:
    seen: list[bytes] = []

    def respond(query_id: bytes) -> list[bytes]:
        seen.append(query_id)
        return [] if len(seen) < 3 else [query_id + ANSWER[2:]]

    with server(respond) as (port, queries):
        assert LoopbackResolver(port=port, timeout=WAIT, retransmit=0.05).lookup(NAME) == GOOD
        assert len(queries) == 3
        # Retransmissions have the same id, so a late answer to the first one counts, too.
        assert len(set(seen)) == 1


@pytest.mark.parametrize("answers", [[], [b""], [b"\0" * 12], [ANSWER]])
def test_without_a_valid_answer_the_lookup_ends_as_unavailable(answers: list[bytes]) -> None:
    # ANSWER has a fixed id, which matches with a probability of 1 in 65,536.
    with server(lambda _: answers) as (port, _):
        answer = LoopbackResolver(port=port, timeout=0.3, retransmit=0.1).lookup(NAME)
        assert isinstance(answer, Unavailable)
        assert not answer.overloaded


def test_a_truncated_answer_is_asked_for_once_over_tcp() -> None:
    short = message(flags=QR | AD | TC)
    with server(lambda query_id: [query_id + short[2:]], ANSWER) as (port, queries):
        assert LoopbackResolver(port=port, timeout=WAIT).lookup(NAME) == GOOD
        assert len(queries) == 1
    for stream in (short, CONTRADICTION, b"\0" * 12, b"", None):
        with server(lambda query_id: [query_id + short[2:]], stream) as (port, _):
            assert isinstance(LoopbackResolver(port=port, timeout=2.0).lookup(NAME), Unavailable)


def test_a_question_that_cannot_be_sent_is_unavailable_with_the_reason() -> None:
    with server(lambda query_id: [query_id + ANSWER[2:]]) as (port, queries):

        async def ask() -> Answer:
            client = LoopbackResolver(port=port, timeout=0.3, retransmit=0.1).open()
            assert isinstance(client, UdpClient)
            client.start()
            for channel in client._sockets:
                channel.udp.shutdown(socket.SHUT_WR)
            try:
                return await client.lookup(NAME)
            finally:
                await client.close()

        answer = asyncio.run(ask())
        assert queries == []
    assert isinstance(answer, Unavailable)
    assert "could not be asked: Broken pipe" in answer.detail


def test_a_resolver_that_does_not_listen_is_unavailable() -> None:
    answer = LoopbackResolver(port=free_port(), timeout=0.3, retransmit=0.05).lookup(NAME)
    assert isinstance(answer, Unavailable)
    assert "not listening" in answer.detail


def test_a_resolver_that_restarts_in_time_is_asked_again() -> None:
    """A restart takes less time than the timeout, so the devices that wait are admitted."""
    port = free_port()
    late: list[Answer] = []
    asking = threading.Thread(
        target=lambda: late.append(LoopbackResolver(port=port, timeout=WAIT, retransmit=0.05).lookup(NAME))
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as down:
        # While this socket is bound, no other process gets the port. Once it is closed, the kernel refuses datagrams.
        down.bind(("127.0.0.1", port))
        asking.start()
        down.recvfrom(4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as up:
        up.bind(("127.0.0.1", port))
        up.settimeout(WAIT)
        query, peer = up.recvfrom(4096)
        up.sendto(query[:2] + ANSWER[2:], peer)
        asking.join(WAIT)
    assert late == [GOOD]


def test_many_lookups_share_four_sockets_and_each_gets_its_own_answer() -> None:
    names = [f"d{number}.example.net" for number in range(500)]
    ports: set[tuple[str, int]] = set()
    served = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(0.1)

        def serve() -> None:
            while not served.is_set():
                try:
                    query, peer = udp.recvfrom(4096)
                except TimeoutError:
                    continue
                ports.add(peer)
                name, _ = decode_name(query, 12)
                # The data identifies the name.
                record = tlsa(name, data=bytes((3, 1, 1)) + name.encode().ljust(32))
                udp.sendto(query[:2] + message([record], questions=[(name, 52, 1)])[2:], peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            answers = asyncio.run(ask_all(LoopbackResolver(port=udp.getsockname()[1], timeout=WAIT), names))
        finally:
            served.set()
            thread.join(WAIT)
    for name, answer in zip(names, answers, strict=True):
        assert isinstance(answer, Secure)
        assert answer.records[0].data == name.encode().ljust(32)
    assert len(ports) == 4


async def ask_all(resolver: LoopbackResolver | TlsResolver, names: list[str]) -> list[Answer]:
    client = resolver.open()
    try:
        return await asyncio.gather(*(client.lookup(name) for name in names))
    finally:
        await client.close()


def test_sockets_are_replaced_so_that_their_ports_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dane_radius.dns.udp._QUESTIONS_PER_SOCKET", 5)
    monkeypatch.setattr("dane_radius.dns.udp._TICK_SECONDS", 0.001)
    ports: set[int] = set()
    with server(lambda query_id: [query_id + ANSWER[2:]]) as (port, _):

        async def ask_often() -> None:
            client = LoopbackResolver(port=port, timeout=WAIT).open()
            assert isinstance(client, UdpClient)
            async with asyncio.timeout(WAIT):
                while len(ports) <= 12 or client._retired:
                    assert await client.lookup(NAME) == GOOD
                    ports.update(channel.udp.getsockname()[1] for channel in client._sockets)
            assert len(client._sockets) == 4
            await client.close()

        asyncio.run(ask_often())


def test_closing_ends_what_is_under_way() -> None:
    with server(lambda _: []) as (port, _):

        async def close_early() -> list[Answer]:
            client = LoopbackResolver(port=port, timeout=WAIT).open()
            asking = [asyncio.create_task(client.lookup(f"d{number}.example.net")) for number in range(20)]
            await asyncio.sleep(0)
            await client.close()
            return await asyncio.gather(*asking)

        answers = asyncio.run(close_early())
    assert all(isinstance(answer, Unavailable) for answer in answers)


def test_a_name_without_a_wire_form_is_not_sent() -> None:
    with server(lambda query_id: [query_id + ANSWER[2:]]) as (port, queries):
        assert isinstance(LoopbackResolver(port=port).lookup("a..b"), Unavailable)
        assert queries == []


def test_a_server_without_tls_is_unavailable() -> None:
    with server(lambda _: [], ANSWER) as (port, _):
        answer = TlsResolver("127.0.0.1", "dns.example", port, timeout=2.0).lookup(NAME)
        assert isinstance(answer, Unavailable)
        assert "did not authenticate" in answer.detail


@pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "::", "2001:db8::1", "::ffff:192.0.2.1", "localhost", ""])
def test_plain_dns_is_for_loopback_addresses_only(address: str) -> None:
    with pytest.raises(ValueError, match=r"expected|is not an IP address"):
        LoopbackResolver(address)
    check_loopback("127.0.0.53")
    check_loopback("::1")

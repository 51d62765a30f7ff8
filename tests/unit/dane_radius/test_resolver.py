"""The shell around the codec, against a server that misbehaves as no real one would; real ones: tests/integration."""

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
    """Answers each datagram with what `respond` makes of the query's ID octets, and each connection with `stream`."""
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


def test_the_good_answer_among_garbage() -> None:
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


def test_a_lost_datagram_is_asked_for_again() -> None:
    seen: list[bytes] = []

    def respond(query_id: bytes) -> list[bytes]:
        seen.append(query_id)
        return [] if len(seen) < 3 else [query_id + ANSWER[2:]]

    with server(respond) as (port, queries):
        assert LoopbackResolver(port=port, timeout=WAIT, retransmit=0.05).lookup(NAME) == GOOD
        assert len(queries) == 3
        # The same question with the same ID: a late answer to the first is as good.
        assert len(set(seen)) == 1


@pytest.mark.parametrize("answers", [[], [b""], [b"\0" * 12], [ANSWER]])
def test_without_a_good_answer_it_is_unavailable_in_time(answers: list[bytes]) -> None:
    # ANSWER as it stands carries a fixed ID: one guess in 65536.
    with server(lambda _: answers) as (port, _):
        answer = LoopbackResolver(port=port, timeout=0.3, retransmit=0.1).lookup(NAME)
        assert isinstance(answer, Unavailable)
        assert not answer.overloaded


def test_truncation_leads_to_tcp_and_no_further() -> None:
    short = message(flags=QR | AD | TC)
    with server(lambda query_id: [query_id + short[2:]], ANSWER) as (port, queries):
        assert LoopbackResolver(port=port, timeout=WAIT).lookup(NAME) == GOOD
        assert len(queries) == 1
    for stream in (short, CONTRADICTION, b"\0" * 12, b"", None):
        with server(lambda query_id: [query_id + short[2:]], stream) as (port, _):
            assert isinstance(LoopbackResolver(port=port, timeout=2.0).lookup(NAME), Unavailable)


def test_nobody_listens() -> None:
    answer = LoopbackResolver(port=free_port(), timeout=0.3, retransmit=0.05).lookup(NAME)
    assert isinstance(answer, Unavailable)
    assert "not listening" in answer.detail


def test_a_resolver_that_comes_back_in_time_is_asked_again() -> None:
    """A restart takes less than the deadline: the devices that wait then get in."""
    port = free_port()
    late: list[Answer] = []
    asking = threading.Thread(
        target=lambda: late.append(LoopbackResolver(port=port, timeout=WAIT, retransmit=0.05).lookup(NAME))
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as down:
        # Bound while the first copies arrive, so that the port stays ours; closed, it refuses.
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


def test_a_crowd_shares_few_sockets_and_each_gets_its_own_answer() -> None:
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
                # Data that tells whose answer it is.
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


def test_sockets_are_replaced_so_that_ports_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dane_radius.dns.udp._QUESTIONS_PER_SOCKET", 5)
    monkeypatch.setattr("dane_radius.dns.udp._TICK_SECONDS", 0.001)
    ports: list[int] = []
    with server(lambda query_id: [query_id + ANSWER[2:]]) as (port, _):

        async def ask_often() -> None:
            client = LoopbackResolver(port=port, timeout=WAIT).open()
            assert isinstance(client, UdpClient)
            for _ in range(100):
                assert await client.lookup(NAME) == GOOD
                await asyncio.sleep(0.002)
                ports.extend(channel.udp.getsockname()[1] for channel in client._sockets)
            assert len(client._sockets) == 4
            assert client._retired == []
            await client.close()

        asyncio.run(ask_often())
    assert len(set(ports)) > 12


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


def test_a_name_without_wire_form_is_no_query() -> None:
    with server(lambda query_id: [query_id + ANSWER[2:]]) as (port, queries):
        assert isinstance(LoopbackResolver(port=port).lookup("a..b"), Unavailable)
        assert queries == []


def test_a_server_that_speaks_no_tls_gives_no_answer() -> None:
    with server(lambda _: [], ANSWER) as (port, _):
        answer = TlsResolver("127.0.0.1", "dns.example", port, timeout=2.0).lookup(NAME)
        assert isinstance(answer, Unavailable)
        assert "did not authenticate" in answer.detail


@pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "::", "2001:db8::1", "::ffff:192.0.2.1", "localhost", ""])
def test_plain_dns_stays_on_loopback(address: str) -> None:
    with pytest.raises(ValueError, match=r"expected|is not an IP address"):
        LoopbackResolver(address)
    check_loopback("127.0.0.53")
    check_loopback("::1")

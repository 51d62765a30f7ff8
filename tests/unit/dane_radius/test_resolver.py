"""The shell around the codec, against a server that misbehaves as no real one would; real ones: tests/integration."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dane_radius.answers import Secure, Unavailable
from dane_radius.dns.resolver import LoopbackResolver, TlsResolver, check_loopback
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
    answer = LoopbackResolver(port=free_port(), timeout=WAIT).lookup(NAME)
    assert isinstance(answer, Unavailable)
    assert "not listening" in answer.detail


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

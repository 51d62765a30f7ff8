"""The DNS relay: each asker gets its own answer, and the relay loses what it is told to lose."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import dns.message
import dns.query
import pytest

from tests.harness.dns_delay import DnsDelay


@pytest.fixture(scope="module")
def echo() -> Iterator[int]:
    """A server that answers each query with itself, over UDP and TCP; its port."""
    tcp = socket.create_server(("127.0.0.1", 0))
    port: int = tcp.getsockname()[1]
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))

    def answer_datagrams() -> None:
        while (packet := udp.recvfrom(4096))[0] != b"end":
            udp.sendto(_answer(packet[0]), packet[1])

    def answer_streams() -> None:
        while True:
            connection, _ = tcp.accept()
            with connection:
                octets = connection.recv(4096)
                if not octets:
                    return
                connection.sendall(octets[:2] + _answer(octets[2:]))

    threads = [threading.Thread(target=answer_datagrams), threading.Thread(target=answer_streams)]
    for thread in threads:
        thread.start()
    yield port
    udp.sendto(b"end", ("127.0.0.1", port))
    socket.create_connection(("127.0.0.1", port)).close()
    for thread in threads:
        thread.join(10)
    udp.close()
    tcp.close()


def _answer(query: bytes) -> bytes:
    """The query with the QR bit."""
    return query[:2] + bytes((query[2] | 0x80,)) + query[3:]


@pytest.fixture(scope="module")
def relay(echo: int) -> Iterator[DnsDelay]:
    with DnsDelay(echo, addresses=("127.0.0.1", "127.9.0.2")) as one:
        yield one


def ask(relay: DnsDelay, name: str, address: str = "127.0.0.1", timeout: float = 5.0) -> dns.message.Message:
    """Raises dns.exception.Timeout. The answer comes from the address that was asked, with the query's id."""
    return dns.query.udp(dns.message.make_query(name, "TLSA"), address, port=relay.port, timeout=timeout)


def query_is_lost(relay: DnsDelay, asker: socket.socket, name: str) -> bool:
    """Whether the relay lost this query, which it sends now. No other packet may be under way."""
    before = relay.set()
    asker.sendto(dns.message.make_query(name, "TLSA").to_wire(), (relay.address, relay.port))
    deadline = time.monotonic() + 5
    while sum((now := relay.set()).values()) == sum(before.values()):
        assert time.monotonic() < deadline, "the relay has not seen the query"
    return now["lost"] > before["lost"]


def is_lost(relay: DnsDelay, name: str) -> bool:
    """Whether the relay loses such a query. One that it passes on is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        if query_is_lost(relay, asker, name):
            return True
        asker.settimeout(5)
        assert asker.recv(4096)
    return False


def test_askers_with_the_same_id_get_their_own_answers(relay: DnsDelay) -> None:
    relay.set(round_trip=0.02)
    askers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
    try:
        for number, asker in enumerate(askers):
            asker.settimeout(5)
            query = dns.message.make_query(f"d{number}.example", "TLSA", id=4711)
            asker.sendto(query.to_wire(), (relay.address, relay.port))
        for number, asker in enumerate(askers):
            answer = dns.message.from_wire(asker.recv(4096))
            assert (answer.id, str(answer.question[0].name)) == (4711, f"d{number}.example.")
    finally:
        relay.set(round_trip=0.0)
        for asker in askers:
            asker.close()


def test_an_answer_does_not_come_before_its_round_trip(relay: DnsDelay) -> None:
    relay.set(round_trip=0.05)
    try:
        began = time.monotonic()
        ask(relay, "d1.example")
        assert time.monotonic() - began >= 0.05
    finally:
        relay.set(round_trip=0.0)


def test_every_address_answers_for_itself(relay: DnsDelay) -> None:
    # dnspython refuses an answer from an address that it did not ask.
    assert ask(relay, "d1.example", "127.9.0.2").question
    assert ask(relay, "d1.example", "127.0.0.1").question


def test_tcp_passes(relay: DnsDelay) -> None:
    query = dns.message.make_query("d1.example", "TLSA")
    for round_trip in (0.0, 0.02):
        relay.set(round_trip=round_trip)
        assert dns.query.tcp(query, relay.address, port=relay.port, timeout=5).id == query.id
    relay.set(round_trip=0.0)


def test_a_black_hole_swallows_everything_until_it_ends(relay: DnsDelay) -> None:
    relay.set(black_hole=True)
    try:
        assert is_lost(relay, "d1.example")
    finally:
        relay.set(black_hole=False)
    assert not is_lost(relay, "d1.example")


def test_one_domain_can_be_silent(relay: DnsDelay) -> None:
    relay.set(silent_below="Dead.example")
    try:
        assert is_lost(relay, "d1.zone7.DEAD.example")
        assert not is_lost(relay, "d1.zone7.undead.example")
        assert not is_lost(relay, "dead.example.net")
    finally:
        relay.set(silent_below=None)


def test_losses_are_the_same_in_each_run() -> None:
    def fates(seed: int) -> list[bool]:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent_server,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker,
        ):
            silent_server.bind(("127.0.0.1", 0))
            with DnsDelay(silent_server.getsockname()[1], loss=0.3, seed=seed) as lossy:
                return [query_is_lost(lossy, asker, f"d{number}.example") for number in range(60)]

    found = fates(7)
    assert found == fates(7) != fates(8)
    assert 5 < sum(found) < 35


def test_a_relay_that_has_ended_says_so(echo: int) -> None:
    with DnsDelay(echo) as one:
        pass
    with pytest.raises((RuntimeError, ValueError)):
        one.set()

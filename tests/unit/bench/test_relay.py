"""The RADIUS relay: each client gets its own answers, and the relay drops and counts what it is told to."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness.relay import REPLY, REQUEST, Loss, Relay


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that answers each packet with itself; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            while (received := server.recvfrom(4096))[0] != b"end":
                server.sendto(*received)

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", server.getsockname())
        thread.join(10)


def client(relay: Relay) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.settimeout(5)
    one.connect((relay.address, relay.port))
    return one


def test_each_client_gets_its_own_answers(echo: int) -> None:
    with Relay(echo, lambda _direction, _packet: False) as relay, client(relay) as one, client(relay) as other:
        one.send(b"first")
        other.send(b"second")
        assert (one.recv(64), other.recv(64)) == (b"first", b"second")
    assert relay.seen == Counter({REQUEST: 2, REPLY: 2})
    assert relay.dropped == Counter()


@pytest.mark.parametrize("lost", [REQUEST, REPLY])
def test_a_dropped_packet_does_not_arrive_and_is_counted(echo: int, lost: str) -> None:
    def drop(direction: str, packet: bytes) -> bool:
        return direction == lost and packet == b"bad"

    with Relay(echo, drop) as relay, client(relay) as one:
        one.send(b"bad")
        one.send(b"good")
        # The packets of one client stay in order, so the first of the two is lost.
        assert one.recv(64) == b"good"
    assert relay.dropped == Counter({lost: 1})


def test_a_server_that_is_down_loses_requests_and_does_not_end_the_relay() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with Relay(port, lambda _direction, _packet: False) as relay, client(relay) as one:
        for _ in range(3):
            one.send(b"lost")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", port))
            server.settimeout(5)
            one.send(b"heard")
            packets = iter(lambda: server.recv(64), b"heard")
            assert set(packets) <= {b"lost"}


def fates(loss: Loss) -> list[bool]:
    return [loss(REQUEST, b"") for _ in range(1000)]


def test_the_same_packets_are_lost_in_each_run() -> None:
    first = fates(Loss(0.2, seed=1))
    assert first == fates(Loss(0.2, seed=1))
    assert first != fates(Loss(0.2, seed=2))
    assert 100 < sum(first) < 300


def test_the_directions_are_independent() -> None:
    loss = Loss(0.2, seed=1)
    mixed = []
    for _ in range(1000):
        loss(REPLY, b"")
        mixed.append(loss(REQUEST, b""))
    assert mixed == fates(Loss(0.2, seed=1))


def test_a_time_without_loss_changes_no_later_fate() -> None:
    loss = Loss(0.0, seed=1)
    assert fates(loss) == [False] * 1000
    loss.share = 0.2
    assert fates(loss) == fates(Loss(0.2, seed=1))

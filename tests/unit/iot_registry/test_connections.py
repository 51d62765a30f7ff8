"""Admission of connections, which of them is ended for another, and how often drops are logged."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import random
from collections import Counter

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from iot_registry.local.metrics import FACE
from tests.harness.process import wait_for
from web_service.core import ClientConnection, ConnectionTable, DropReason
from web_service.https import DropLog


def never() -> None:
    raise AssertionError("it was in use, and was ended")


def nothing() -> None:
    pass


def admitted(table: ConnectionTable, address: str) -> ClientConnection:
    found = table.admit(address, nothing)
    assert isinstance(found, ClientConnection)
    return found


def test_an_address_has_its_bound_and_gets_its_places_back() -> None:
    table = ConnectionTable(total=10, per_address=2)
    first, _second = admitted(table, "192.0.2.1"), admitted(table, "192.0.2.1")
    assert table.admit("192.0.2.1", nothing) is DropReason.ADDRESS_FULL
    admitted(table, "192.0.2.2")
    assert table.remove(first)
    assert not table.remove(first)
    admitted(table, "192.0.2.1")
    assert len(table) == 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_who_is_one_client(one: str, other: str, same: bool) -> None:
    table = ConnectionTable(total=10, per_address=1)
    assert (table.key(one) == table.key(other)) is same


def test_behind_a_shared_address_everyone_is_a_client_of_his_own() -> None:
    table = ConnectionTable(total=5, per_address=1, shared=[ipaddress.ip_network("192.0.2.0/28")])
    for _ in range(5):
        admitted(table, "192.0.2.7")
    # Each of them counts as a client with one connection: the longest idle one is ended.
    admitted(table, "198.51.100.1")
    assert table.admit("198.51.100.1", nothing) is DropReason.ADDRESS_FULL
    assert len(table) == 5


def test_whoever_holds_the_most_gives_way_oldest_first() -> None:
    table = ConnectionTable(total=4, per_address=4)
    ended: list[int] = []
    for number in range(3):
        table.admit("192.0.2.66", lambda number=number: ended.append(number))  # type: ignore[misc]
    admitted(table, "192.0.2.1")
    admitted(table, "192.0.2.2")
    assert ended == [0]
    # Address 66 holds two and the new client none: another one is ended. Then each has one, and 66 gets no second.
    admitted(table, "192.0.2.3")
    assert ended == [0, 1]
    assert table.admit("192.0.2.66", nothing) is DropReason.ALL_FULL


def test_what_is_being_served_does_not_give_way() -> None:
    table = ConnectionTable(total=3, per_address=3)
    for _ in range(3):
        served = table.admit("192.0.2.66", never)
        assert isinstance(served, ClientConnection)
        table.busy(served)
    assert table.admit("192.0.2.1", nothing) is DropReason.ALL_FULL
    table.idle(served)
    served.end = nothing
    admitted(table, "192.0.2.1")


@given(st.integers(1, 2**32), st.integers(2, 12), st.integers(1, 6))
def test_no_order_of_events_breaks_the_bounds(seed: int, total: int, per_address: int) -> None:
    """Connections, ends and requests in any order: the bounds hold, and each connection is ended at most once."""
    choose = random.Random(seed)
    table = ConnectionTable(total, per_address)
    present: list[ClientConnection] = []
    ended: list[ClientConnection] = []
    for _ in range(200):
        action = choose.random()
        if action < 0.5 or not present:
            holder: list[ClientConnection] = []
            found = table.admit(f"192.0.2.{choose.randint(1, 5)}", lambda holder=holder: ended.append(holder[0]))  # type: ignore[misc]
            if isinstance(found, ClientConnection):
                holder.append(found)
                present.append(found)
            present = [connection for connection in present if connection not in ended]
        elif action < 0.7:
            assert table.remove(present.pop(choose.randrange(len(present))))
        else:
            (table.busy if action < 0.85 else table.idle)(choose.choice(present))
        assert len(table) == len(present) <= total
        assert all(count <= per_address for count in Counter(connection.key for connection in present).values())
        assert len(set(ended)) == len(ended)


def test_a_kind_has_one_line_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory())

    async def flood() -> None:
        drop_log = DropLog(FACE, interval=0.2)
        for number in range(1000):
            drop_log.note(DropReason.ADDRESS_FULL, f"192.0.2.{number % 250}")
        drop_log.note(DropReason.MALFORMED, "192.0.2.1")
        await asyncio.to_thread(wait_for, lambda: not drop_log._more, "an interval without another drop to end")
        drop_log.note(DropReason.ADDRESS_FULL, "192.0.2.9")

    try:
        asyncio.run(flood())
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["reason"], line["count"]) for line in lines] == [
        ("address-full", 1),
        ("malformed", 1),
        ("address-full", 999),
        ("address-full", 1),
    ]

"""Anyone can ask for the metrics: the devices are counted from time to time, not for each request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event

from operations.local import metrics
from operations.web import public_endpoints
from operations.web.context import Turn
from tests.unit.operations.asking import put
from tests.unit.operations.conftest import Bench


def test_a_turn_comes_once_in_its_time() -> None:
    turn = Turn(5.0)
    assert [turn.due(now) for now in (100.0, 100.0, 104.9, 105.0, 106.0, 200.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


@dataclass
class OneContext:
    """As much of the running service as the metrics need."""

    bench: Bench
    counts: Turn

    async def read(self, work: Any) -> Any:
        return self.bench.read(work)


@dataclass
class OneCall:
    context: OneContext


def test_many_requests_count_the_devices_once(bench: Bench) -> None:
    put(bench, "blocked")
    counted: list[str] = []

    @event.listens_for(bench.database.engine, "before_cursor_execute")
    def _statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "count(" in statement:
            counted.append(statement)

    call: Any = OneCall(OneContext(bench, Turn(3600)))
    bodies = [asyncio.run(public_endpoints.prometheus(call)).body for _ in range(3)]
    once = len(counted)
    assert once > 0
    assert len(counted) == len(set(counted))
    for body in bodies:
        assert isinstance(body, bytes)
        assert b'dane_operations_devices{standing="blocked"} 1.0' in body
        assert b"dane_operations_database_up 1.0" in body
    # The position of the feed is read each time.
    put(bench, "watched")
    body = asyncio.run(public_endpoints.prometheus(call)).body
    assert isinstance(body, bytes)
    assert len(counted) == once
    assert metrics.SERVICE.feed_seq._value.get() == 2
    call.context.counts = Turn(0)
    body = asyncio.run(public_endpoints.prometheus(call)).body
    assert isinstance(body, bytes)
    assert b'dane_operations_devices{standing="watched"} 1.0' in body

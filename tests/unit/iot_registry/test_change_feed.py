"""The change feed in the database: order, compaction, retention, batches."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from sqlalchemy import select

from iot_registry.store import change_feed
from iot_registry.store.change_feed import ChangeType
from iot_registry.store.models import Change
from tests.unit.iot_registry.conftest import NOW, Bench
from tests.unit.iot_registry.test_services import refused
from web_service.core import Reason


def emit(bench: Bench, name: str, at: dt.datetime, kind: ChangeType = ChangeType.DEVICE_CHANGED) -> int:
    with bench.database.write() as session:
        return change_feed.append(session, kind, 1, at, name=name)


def seqs(bench: Bench, since: int) -> list[int]:
    with bench.database.read() as session:
        return [change["seq"] for change in change_feed.read_since(session, since).changes]


def test_a_consumer_that_was_away_for_a_week_catches_up_after_compaction(bench: Bench) -> None:
    week_ago = NOW - dt.timedelta(days=7)
    start = emit(bench, "a", week_ago)
    emit(bench, "a", week_ago)
    last_of_b = emit(bench, "b", week_ago)
    last_of_a = emit(bench, "a", NOW)
    with bench.database.write() as session:
        assert change_feed.compact(session, NOW, retention_days=30, compact_after_days=1) == 2
    # The latest event of every name remains, in order.
    assert seqs(bench, start - 1) == [last_of_b, last_of_a]


def test_history_beyond_the_retention_is_gone_and_says_so(bench: Bench) -> None:
    old = emit(bench, "a", NOW - dt.timedelta(days=40))
    kept = emit(bench, "b", NOW)
    with bench.database.write() as session:
        change_feed.compact(session, NOW, retention_days=30, compact_after_days=1)
    for since in (0, old - 1, kept + 1):
        with refused(Reason.HISTORY_GONE):
            seqs(bench, since)
    assert seqs(bench, old) == [kept]


def test_numbers_follow_commits_even_under_contention(bench: Bench) -> None:
    threads = [threading.Thread(target=emit, args=(bench, f"n{i}", NOW)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with bench.database.read() as session:
        found = list(session.scalars(select(Change.seq).order_by(Change.seq)))
    assert found == list(range(1, len(found) + 1))


def test_a_long_history_comes_in_batches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "MAX_EVENTS", 3)
    for number in range(7):
        emit(bench, f"n{number}", NOW)
    seen: list[int] = []
    since, more = 0, True
    while more:
        with bench.database.read() as session:
            batch = change_feed.read_since(session, since)
        seen += [change["seq"] for change in batch.changes]
        since, more = batch.next, batch.more
    assert seen == list(range(1, 10))

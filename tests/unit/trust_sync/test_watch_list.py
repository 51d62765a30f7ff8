"""The watch list: when each name is due, and what a restart and an end leave of it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from trust_sync.sessions.watch_list import WatchList
from trust_sync.shared import Trigger


def due(watch_list: WatchList, now: float) -> list[str]:
    return [watched.name for watched in watch_list.pop_due(now)]


def test_a_name_is_due_once_and_only_at_its_last_time() -> None:
    watch_list = WatchList({})
    watch_list.begin("a", 10.0, Trigger.TTL)
    watch_list.begin("b", 5.0, Trigger.TTL)
    watch_list.reschedule("a", 20.0)
    assert watch_list.next_due == 5.0
    assert due(watch_list, 10.0) == ["b"]
    assert due(watch_list, 19.9) == []
    assert due(watch_list, 20.0) == ["a"]
    assert due(watch_list, 1e9) == []


def test_a_name_that_is_removed_is_not_due_and_its_records_are_forgotten() -> None:
    records = {"a": ["3 1 1 00"], "b": ["3 1 1 11"]}
    watch_list = WatchList(records)
    for name in ("a", "b"):
        watch_list.begin(name, 1.0, Trigger.TTL)
    watch_list.remove("a")
    assert due(watch_list, 2.0) == ["b"]
    assert records == {"b": ["3 1 1 11"]}
    watch_list.reschedule("a", 3.0)
    assert "a" not in watch_list


def test_records_of_before_a_restart_apply_and_new_ones_are_kept() -> None:
    records = {"a": ["3 1 1 00"]}
    watch_list = WatchList(records)
    watch_list.begin("a", 1.0, Trigger.FEED)
    watched = watch_list.get("a")
    assert watched is not None
    assert (watched.records, watched.trigger) == (frozenset({"3 1 1 00"}), Trigger.FEED)
    watch_list.schedule(replace(watched, records=frozenset({"3 1 1 22", "3 1 1 11"})))
    assert records == {"a": ["3 1 1 11", "3 1 1 22"]}


def test_a_reported_name_is_watched_with_new_attempts_and_without_a_schedule() -> None:
    scheduled: list[float] = []
    watch_list = WatchList({})
    watch_list.on_schedule = scheduled.append
    watch_list.begin("a", 100.0, Trigger.TTL)
    watched = watch_list.get("a")
    assert watched is not None
    watch_list.schedule(replace(watched, attempts=3))
    for name in ("a", "new"):
        reported = watch_list.trigger(name, Trigger.REVOKED, 7.0)
        assert (reported.due, reported.trigger, reported.attempts) == (7.0, Trigger.REVOKED, 0)
        assert watch_list.get(name) is reported
    assert scheduled == [100.0, 100.0]
    assert due(watch_list, 1e9) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 100)), max_size=20), st.floats(0, 100))
def test_what_is_due_is_what_the_last_schedule_of_each_name_says(steps: list[tuple[str, float]], now: float) -> None:
    watch_list = WatchList({})
    last: dict[str, float] = {}
    for name, when in steps:
        watch_list.begin(name, when, Trigger.TTL)
        last[name] = when
    assert sorted(set(due(watch_list, now))) == sorted(name for name, when in last.items() if when <= now)

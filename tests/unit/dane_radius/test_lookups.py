"""Lookups beside the authentication path, as far as they add to the cache: what waits, and what a flush ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dane_radius.answers import Unavailable
from dane_radius.cache import AnswerCache, CacheLimits
from dane_radius.lookups import Lookups, WaitBudget
from tests.unit.dane_radius.test_cache import GONE, GOOD, NAME, WAIT, Clock, Script, until


@pytest.fixture
def made() -> Iterator[tuple[Lookups, AnswerCache, Script]]:
    script = Script()
    cache = AnswerCache(script, CacheLimits(max_waiting=8, max_waiting_per_domain=8), Clock())
    lookups = Lookups(cache, WaitBudget(share=1.0, burst=WAIT), workers=4, patience=WAIT)
    yield lookups, cache, script
    script.gate.set()
    lookups.stop()


def test_an_answer_is_looked_up_once_and_then_cached(made: tuple[Lookups, AnswerCache, Script]) -> None:
    lookups, _, script = made
    lookups.prefetch(NAME)
    assert lookups.lookup(NAME)[0] == GOOD
    assert lookups.lookup(NAME) == (GOOD, True)
    assert script.asked == [NAME]


@pytest.mark.parametrize("how", [(NAME, False), ("example.net", True), (None, False)])
def test_what_was_asked_before_a_flush_is_not_given_to_those_who_come_after(
    made: tuple[Lookups, AnswerCache, Script], how: tuple[str | None, bool]
) -> None:
    """The record is deleted and the name flushed while a lookup is on its way back with the old record."""
    lookups, cache, script = made
    script.gate.clear()
    lookups.prefetch(NAME)
    assert script.entered.acquire(timeout=WAIT)
    script.answer = GONE
    lookups.flush(how[0], below=how[1])
    results = []
    thread = threading.Thread(target=lambda: results.append(lookups.lookup(NAME)))
    thread.start()
    assert script.entered.acquire(timeout=WAIT)
    script.gate.set()
    thread.join(WAIT)
    assert [answer for answer, _ in results] == [GONE]
    until(lambda: cache.waiting == 0)
    assert cache.cached(NAME) == GONE
    assert len(script.asked) == 2


def test_a_flush_of_another_name_leaves_a_lookup_alone(made: tuple[Lookups, AnswerCache, Script]) -> None:
    lookups, _, script = made
    script.gate.clear()
    lookups.prefetch(NAME)
    assert script.entered.acquire(timeout=WAIT)
    lookups.flush("b2._device.example.net")
    lookups.flush("example.org", below=True)
    script.gate.set()
    assert lookups.lookup(NAME)[0] == GOOD
    assert script.asked == [NAME]


def test_more_lookups_than_workers_are_refused_at_once(made: tuple[Lookups, AnswerCache, Script]) -> None:
    lookups, _, script = made
    script.gate.clear()
    for number in range(4):
        lookups.prefetch(f"d{number}._device.zone{number}.example")
    for _ in range(4):
        assert script.entered.acquire(timeout=WAIT)
    answer, _ = lookups.lookup(NAME)
    assert isinstance(answer, Unavailable)
    assert answer.overloaded


def test_the_budget_is_what_decisions_may_wait_in_all() -> None:
    clock = Clock()
    budget = WaitBudget(share=0.5, burst=2.0, clock=clock)
    assert budget.take(1.5) == 1.5
    assert budget.take(1.5) == 0.5
    assert budget.take(1.5) == 0.0
    clock.now += 1.0
    assert budget.take(1.5) == 0.5
    budget.give_back(100.0)
    assert budget.take(100.0) == 2.0
    budget.give_back(-5.0)
    assert budget.take(1.0) == 0.0


def test_without_budget_nobody_waits_and_the_lookup_goes_on() -> None:
    script = Script()
    cache = AnswerCache(script, CacheLimits(), Clock())
    lookups = Lookups(cache, WaitBudget(share=0.0, burst=0.0), workers=4, patience=WAIT)
    try:
        script.gate.clear()
        answer, cached = lookups.lookup(NAME)
        assert isinstance(answer, Unavailable)
        assert not cached
        script.gate.set()
        until(lambda: cache.cached(NAME) is not None)
        assert lookups.lookup(NAME) == (GOOD, True)
        assert script.asked == [NAME]
    finally:
        script.gate.set()
        lookups.stop()

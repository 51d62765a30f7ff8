"""The lookup engine: single flight, flushes, limits, background lookups, and failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from dane_radius.core.answers import Answer, Bogus, Secure, SecureAbsent, Unavailable
from dane_radius.dns import background
from dane_radius.dns import lookups as engine
from dane_radius.dns.background import Cause
from dane_radius.dns.cache import CacheLimits
from dane_radius.dns.domains import WaitLimits
from dane_radius.dns.lookups import Lookup, Lookups
from tests.unit.dane_radius.script import WAIT, Clock, Script, until
from tests.unit.dane_radius.test_cache import DOWN, GONE, GOOD, NAME

Make = Callable[..., tuple[Lookups, Script, Clock]]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[tuple[Lookups, Script]] = []

    def new(
        answer: Answer = GOOD, *, waits: WaitLimits | None = None, **limits: float
    ) -> tuple[Lookups, Script, Clock]:
        script, clock = Script(answer), Clock()
        lookups = Lookups(script, CacheLimits(**limits), waits, clock)  # type: ignore[arg-type]  # ints as floats
        lookups.start()
        made.append((lookups, script))
        return lookups, script, clock

    yield new
    for lookups, script in made:
        script.gate.set()
        lookups.stop()
        assert script.closed


def look_up(lookups: Lookups, name: str = NAME, cause: Cause = Cause.DECISION) -> Answer:
    """The answer of a lookup that is started and awaited."""
    found = lookups.start_lookup(name, cause)
    if isinstance(found, Lookup):
        until(lambda: found.answer is not None)
        assert found.answer is not None
        return found.answer
    return found


def test_an_answer_is_looked_up_once_and_then_cached(make: Make) -> None:
    lookups, script, clock = make()
    assert lookups.find(NAME) is None
    assert look_up(lookups) == GOOD
    assert lookups.find(NAME) == GOOD
    assert lookups.start_lookup(NAME, Cause.IDENTITY) == GOOD
    assert script.asked == [NAME]
    assert lookups.counts.hits == 1
    clock.now += 100
    assert lookups.find(NAME) is None
    assert look_up(lookups) == GOOD
    assert script.asked == [NAME, NAME]


def test_a_hundred_requests_for_a_name_share_one_lookup(make: Make) -> None:
    lookups, script, _ = make()
    script.gate.clear()
    notified = threading.Semaphore(0)
    found = [lookups.start_lookup(NAME, Cause.DECISION) for _ in range(100)]
    first = found[0]
    assert isinstance(first, Lookup)
    assert all(one is first for one in found)
    with lookups.lock:
        first.on_answer.extend([notified.release] * 100)
    script.gate.set()
    for _ in range(100):
        assert notified.acquire(timeout=WAIT)
    assert first.answer == GOOD
    assert script.asked == [NAME]
    assert (lookups.counts.shared, lookups.under_way) == (99, 0)


def test_a_thousand_lookups_are_under_way_at_once(make: Make) -> None:
    lookups, script, _ = make()
    script.gate.clear()
    for number in range(1000):
        assert isinstance(lookups.start_lookup(f"d{number}._device.example.net", Cause.CERTIFICATE), Lookup)
    until(lambda: len(script.asked) == 1000)
    script.gate.set()
    until(lambda: lookups.under_way == 0)
    assert len(lookups.cache) == 1000
    assert lookups.counts.started[Cause.CERTIFICATE] == 1000


def test_lookups_beyond_a_limit_are_refused_as_overload(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_LOOKUPS", 4)
    monkeypatch.setattr(engine, "MAX_IDENTITY_LOOKUPS", 2)
    lookups, script, _ = make()
    script.gate.clear()
    identities = [lookups.start_lookup(f"i{number}.example.net", Cause.IDENTITY) for number in range(3)]
    assert [isinstance(found, Lookup) for found in identities] == [True, True, False]
    assert isinstance(identities[2], Unavailable)
    assert identities[2].overloaded
    # A lookup for a certificate is not subject to the limit for identities.
    for_certificates = [lookups.start_lookup(f"c{number}.example.net", Cause.DECISION) for number in range(3)]
    assert [isinstance(found, Lookup) for found in for_certificates] == [True, True, False]
    assert lookups.counts.overloaded == 2
    script.gate.set()
    until(lambda: lookups.under_way == 0)
    # The refusal is not cached.
    assert look_up(lookups, "i2.example.net", Cause.IDENTITY) == GOOD


def test_a_domain_that_does_not_answer_has_few_lookups_under_way(make: Make) -> None:
    lookups, script, clock = make(waits=WaitLimits(slow_after=1.0, max_lookups_per_slow_domain=3))
    script.gate.clear()
    for number in range(10):
        assert isinstance(lookups.start_lookup(f"d{number}._device.dead.example", Cause.DECISION), Lookup)
    clock.now += 1.1
    refused = lookups.start_lookup("d99._device.dead.example", Cause.DECISION)
    assert isinstance(refused, Unavailable)
    assert not refused.overloaded
    assert "_device.dead.example does not answer" in refused.detail
    assert isinstance(lookups.start_lookup(NAME, Cause.DECISION), Lookup)
    assert lookups.slow_domains() == [{"domain": "_device.dead.example", "lookups": 10, "waiting": 0}]
    assert lookups.count_slow_domains() == 1
    script.gate.set()
    until(lambda: lookups.under_way == 0)
    assert lookups.slow_domains() == []


def test_a_client_that_raises_gives_unavailable_and_the_engine_continues(make: Make) -> None:
    lookups, script, clock = make()
    script.broken = True
    for cause in (Cause.DECISION, Cause.REFRESH):
        answer = look_up(lookups, cause=cause)
        assert isinstance(answer, Unavailable)
        assert "RuntimeError" in answer.detail
        assert lookups.under_way == 0
        clock.now += 2
    script.broken = False
    assert look_up(lookups) == GOOD


def test_there_are_no_lookups_before_the_start_and_after_the_end() -> None:
    script = Script()
    lookups = Lookups(script)
    never = lookups.start_lookup(NAME, Cause.DECISION)
    assert isinstance(never, Unavailable)
    lookups.start()
    script.gate.clear()
    under_way = lookups.start_lookup(NAME, Cause.DECISION)
    assert isinstance(under_way, Lookup)
    notified = threading.Event()
    with lookups.lock:
        under_way.on_answer.append(notified.set)
    lookups.stop()
    assert notified.is_set(), "a request that waits is notified when the engine stops"
    assert isinstance(under_way.answer, Unavailable)
    assert isinstance(lookups.start_lookup("b.example.net", Cause.DECISION), Unavailable)
    lookups.stop()


# --- flush -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [(NAME, False), ("example.net", True), (None, False)])
def test_an_answer_from_before_a_flush_is_not_used(make: Make, how: tuple[str | None, bool]) -> None:
    """The record is deleted and the name is flushed while a lookup is under way whose answer has the old record.

    A device that was waiting before the flush is not admitted by the old record either.
    """
    lookups, script, _ = make()
    script.gate.clear()
    before = lookups.start_lookup(NAME, Cause.DECISION)
    assert isinstance(before, Lookup)
    assert script.entered.acquire(timeout=WAIT)
    lookups.flush(how[0], below=how[1])
    script.answer = GONE
    after = lookups.start_lookup(NAME, Cause.DECISION)
    assert after is before
    script.gate.set()
    until(lambda: before.answer is not None)
    assert before.answer == GONE
    assert lookups.find(NAME) == GONE
    assert script.asked == [NAME, NAME]


def test_a_flush_of_another_name_does_not_affect_a_lookup(make: Make) -> None:
    lookups, script, _ = make()
    script.gate.clear()
    lookups.start_lookup(NAME, Cause.CERTIFICATE)
    assert script.entered.acquire(timeout=WAIT)
    lookups.flush("b2._device.example.net")
    lookups.flush("example.org", below=True)
    script.gate.set()
    until(lambda: lookups.find(NAME) == GOOD)
    assert script.asked == [NAME]


def test_endless_flushes_end_a_lookup(make: Make) -> None:
    lookups, script, _ = make()

    def flushing(name: str) -> Answer:
        lookups.flush(name)
        return GOOD

    script.answer = flushing
    answer = look_up(lookups)
    assert isinstance(answer, Unavailable)
    assert "flushed" in answer.detail
    assert len(script.asked) < 20


def test_a_flush_during_a_refresh_removes_the_answer(make: Make) -> None:
    lookups, script, clock = make()
    look_up(lookups)
    assert script.entered.acquire(timeout=WAIT)
    script.gate.clear()
    clock.now += 90
    assert lookups.find(NAME) is not None
    assert script.entered.acquire(timeout=WAIT)
    assert lookups.flush(NAME) == 1
    assert lookups.find(NAME) is None
    script.answer = GONE
    script.gate.set()
    until(lambda: lookups.find(NAME) == GONE)


# --- refresh ---------------------------------------------------------------------------------------------------------


def test_a_name_in_use_is_refreshed_before_it_expires(make: Make) -> None:
    lookups, script, clock = make()
    look_up(lookups)
    clock.now += 79.9
    lookups.find(NAME)
    assert lookups.counts.started[Cause.REFRESH] == 0
    clock.now += 0.1
    assert lookups.find(NAME) == GOOD._replace(ttl=20)
    until(lambda: lookups.find(NAME) == GOOD)
    assert script.asked == [NAME, NAME]


@pytest.mark.parametrize("answer", [GONE, Bogus(6, "")])
def test_a_refresh_with_a_denial_or_bogus_answer_replaces_the_answer(make: Make, answer: Answer) -> None:
    lookups, script, clock = make()
    look_up(lookups)
    script.answer = answer
    clock.now += 90
    assert isinstance(lookups.find(NAME), Secure)
    until(lambda: lookups.find(NAME) == answer)


def test_a_failed_refresh_keeps_the_answer_until_its_ttl_ends(make: Make) -> None:
    lookups, script, clock = make()
    look_up(lookups)
    script.answer = DOWN
    clock.now += 90
    lookups.find(NAME)
    until(lambda: len(script.asked) == 2 and lookups.under_way == 0)
    assert lookups.find(NAME) == GOOD._replace(ttl=10)
    # One refresh was requested, not one for each use.
    assert lookups.counts.started[Cause.REFRESH] == 1
    clock.now += 10
    assert lookups.find(NAME) is None


def test_background_lookups_are_limited_and_domains_take_turns(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MAX_BACKGROUND_LOOKUPS", 2)
    monkeypatch.setattr(background, "_MAX_QUEUED", 8)
    lookups, script, clock = make()
    many = [f"d{number}._device.many.example" for number in range(12)]
    for name in (*many, NAME):
        look_up(lookups, name)
    script.asked.clear()
    script.gate.clear()
    clock.now += 85
    for name in (*many[:8], NAME):
        lookups.find(name)
    until(lambda: len(script.asked) == 2)
    assert lookups.counts.started[Cause.REFRESH] == 2
    for name in many[8:]:
        lookups.find(name)
    # Two are under way and eight are queued. The other entries expire, and the next device waits for a lookup.
    assert lookups.counts.refreshes_dropped == 3
    script.gate.set()
    until(lambda: len(script.asked) == 10 and lookups.under_way == 0)
    assert script.asked.index(NAME) <= 3, "many names of one domain do not delay the name of another one"


def test_a_name_of_a_live_session_is_looked_up_before_the_session_ends(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_HOUSEKEEPING_SECONDS", 0.01)
    lookups, script, clock = make()
    look_up(lookups)
    lookups.note_session_end(NAME, 600.0)
    lookups.note_session_end(NAME, 900.0)
    lookups.note_session_end("b2._device.example.net", 950.0)
    clock.now += 610
    clock.now += 295
    until(lambda: len(script.asked) == 2)
    assert script.asked == [NAME, NAME], "one lookup, before the later session ends"
    clock.now += 10
    # This answer is valid beyond the end of the session.
    look_up(lookups, "b2._device.example.net")
    clock.now += 40
    until(lambda: not lookups._session_ends)
    assert script.asked.count("b2._device.example.net") == 1
    assert lookups.counts.started[Cause.SESSION_END] == 1


def test_an_exception_does_not_end_the_housekeeping(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_HOUSEKEEPING_SECONDS", 0.01)
    lookups, _, _ = make()
    sweeps: list[float] = []

    def failing(now: float) -> int:
        sweeps.append(now)
        raise RuntimeError("sweep")

    monkeypatch.setattr(lookups.cache, "sweep", failing)
    until(lambda: len(sweeps) > 2)


def test_the_number_of_session_ends_is_limited(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_MAX_SESSION_ENDS", 10)
    lookups, _, _ = make()
    for number in range(100):
        lookups.note_session_end(f"d{number}.example", 600.0)
    assert len(lookups._session_ends) == 10


# --- stale answers, failures, and other work -------------------------------------------------------------------------


def test_without_an_answer_a_stale_one_or_the_reason_is_used(make: Make) -> None:
    lookups, _, clock = make(stale_grace=50)
    look_up(lookups)
    clock.now += 120
    stale = lookups.without_answer(NAME, "too slow")
    assert isinstance(stale, Secure)
    assert stale.stale
    assert lookups.counts.stale == 1
    assert lookups.without_answer("b.example", "too slow") == Unavailable("too slow")
    assert lookups.without_answer("b.example", "too many", overloaded=True) == Unavailable("too many", overloaded=True)


def test_denials_and_failures_are_cached_like_other_answers(make: Make) -> None:
    lookups, script, clock = make(GONE)
    assert isinstance(look_up(lookups), SecureAbsent)
    clock.now += 31
    script.answer = DOWN
    assert look_up(lookups) == DOWN
    assert lookups.find(NAME) == DOWN, "cached for failure_ttl"


def test_coroutines_run_in_the_engines_loop(make: Make) -> None:
    lookups, _, _ = make()
    ran = threading.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        ran.set()

    assert lookups.submit(work())
    assert ran.wait(WAIT)
    stopped = Lookups(Script())
    assert not stopped.submit(work())

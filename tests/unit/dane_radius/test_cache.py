"""The answer cache with a clock that stands still until it is moved, and a resolver that says what it is told to."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from dane_radius.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.cache import AnswerCache, CacheLimits
from dane_radius.tlsa import TlsaRecord

NAME = "a1._device.example.net"
RECORD = TlsaRecord(3, 1, 1, b"\xaa" * 32)
GOOD = Secure((RECORD,), 100)
GONE = SecureAbsent(Absence.NXDOMAIN, 30)
DOWN = Unavailable("no answer")
WAIT = 10.0  # how long a thread may take to get somewhere; only ever used up by a failing test


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Script:
    """A resolver whose answers are scripted; `gate`, when closed, holds every lookup back."""

    def __init__(self, answer: Answer | Callable[[str], Answer] = GOOD) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def lookup(self, name: str) -> Answer:
        self.asked.append(name)
        answer = self.answer
        self.entered.release()
        assert self.gate.wait(WAIT)
        return answer(name) if callable(answer) else answer


def new(answer: Answer | Callable[[str], Answer] = GOOD, **limits: float) -> tuple[AnswerCache, Script, Clock]:
    script, clock = Script(answer), Clock()
    return AnswerCache(script, CacheLimits(**limits), clock), script, clock  # type: ignore[arg-type]  # ints as floats


class Threads:
    """Lookups in threads of their own, and what came of them."""

    def __init__(self, cache: AnswerCache) -> None:
        self._cache = cache
        self._threads: list[threading.Thread] = []
        self.results: list[tuple[Answer, bool]] = []

    def start(self, *names: str) -> None:
        for name in names:
            thread = threading.Thread(target=self._run, args=(name,))
            self._threads.append(thread)
            thread.start()

    def _run(self, name: str) -> None:
        self.results.append(self._cache.lookup(name))

    def join(self) -> list[Answer]:
        for thread in self._threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        return [answer for answer, _ in self.results]


def until(condition: Callable[[], bool]) -> None:
    """Wait for a state that other threads bring about."""
    pause = threading.Event()
    for _ in range(int(WAIT / 0.002)):
        if condition():
            return
        pause.wait(0.002)
    raise AssertionError("the state was not reached")


# --- time ------------------------------------------------------------------------------------------------------------


def test_an_answer_is_kept_for_its_ttl_and_not_longer() -> None:
    cache, script, clock = new()
    assert cache.lookup(NAME) == (GOOD, False)
    clock.now += 60
    assert cache.lookup(NAME) == (GOOD._replace(ttl=40), True)
    clock.now += 39.9
    assert cache.lookup(NAME) == (GOOD._replace(ttl=0), True)
    clock.now += 0.1
    assert cache.lookup(NAME) == (GOOD, False)
    assert len(script.asked) == 2


def test_ttl_0_is_not_kept() -> None:
    cache, script, _ = new(GOOD._replace(ttl=0))
    assert [cache.lookup(NAME)[1] for _ in range(3)] == [False] * 3
    assert len(script.asked) == 3
    assert len(cache) == 0


def test_ttl_0_takes_the_place_of_what_was_kept_before() -> None:
    cache, script, clock = new()
    cache.lookup(NAME)
    clock.now += 100
    script.answer = GONE._replace(ttl=0)
    assert cache.lookup(NAME) == (GONE._replace(ttl=0), False)
    assert cache.names() == []


def test_no_ttl_beyond_max_ttl() -> None:
    cache, _, clock = new(GOOD._replace(ttl=2**31 - 1), max_ttl=50)
    cache.lookup(NAME)
    assert cache.lookup(NAME) == (GOOD._replace(ttl=50), True)
    clock.now += 50
    assert cache.lookup(NAME)[1] is False


def test_denials_are_kept_for_their_negative_ttl() -> None:
    cache, script, clock = new(GONE)
    cache.lookup(NAME)
    clock.now += 29
    assert cache.lookup(NAME) == (GONE._replace(ttl=1), True)
    clock.now += 1
    script.answer = GOOD
    assert cache.lookup(NAME) == (GOOD, False)


@pytest.mark.parametrize("failure", [DOWN, Bogus(6, "bogus"), Insecure("no AD", 3600)])
def test_failures_are_kept_for_failure_ttl_only(failure: Answer) -> None:
    cache, script, clock = new(failure, failure_ttl=2)
    assert cache.lookup(NAME) == (failure, False)
    script.answer = GOOD
    clock.now += 1.9
    assert cache.lookup(NAME) == (failure, True)
    clock.now += 0.1
    assert cache.lookup(NAME) == (GOOD, False)


def test_failure_ttl_0_asks_each_time() -> None:
    cache, script, _ = new(DOWN, failure_ttl=0)
    cache.lookup(NAME)
    cache.lookup(NAME)
    assert len(script.asked) == 2


def test_names_do_not_share_answers() -> None:
    cache, _, _ = new(lambda name: GOOD if name == NAME else GONE)
    assert cache.lookup(NAME)[0] == GOOD
    assert cache.lookup("b2._device.example.net")[0] == GONE
    assert cache.lookup(NAME)[0] == GOOD


# --- stale answers ---------------------------------------------------------------------------------------------------


def test_without_grace_nothing_stale_is_served() -> None:
    cache, script, clock = new()
    cache.lookup(NAME)
    script.answer = DOWN
    clock.now += 100
    assert cache.lookup(NAME) == (DOWN, False)
    assert cache.stale(NAME) is None


def test_grace_serves_while_unavailable_and_marks_it() -> None:
    cache, script, clock = new(stale_grace=50)
    cache.lookup(NAME)
    script.answer = DOWN
    clock.now += 100
    stale = Secure((RECORD,), 0, stale=True)
    assert cache.lookup(NAME)[0] == stale
    clock.now += 49.9
    assert cache.lookup(NAME)[0] == stale
    clock.now += 0.1
    assert cache.lookup(NAME)[0] == DOWN
    assert cache.stale(NAME) is None


@pytest.mark.parametrize("answer", [GONE, GONE._replace(ttl=0), Bogus(6, ""), Insecure("no AD")])
def test_grace_is_for_unavailability_alone(answer: Answer) -> None:
    cache, script, clock = new(stale_grace=5000)
    cache.lookup(NAME)
    clock.now += 100
    script.answer = answer
    assert cache.lookup(NAME)[0] == answer
    # And once it is known to be gone or bogus, the old answer does not come back.
    clock.now += 100
    script.answer = DOWN
    assert cache.lookup(NAME)[0] == DOWN


def test_a_denial_is_never_served_stale() -> None:
    cache, script, clock = new(GONE, stale_grace=5000)
    cache.lookup(NAME)
    clock.now += 30
    script.answer = DOWN
    assert cache.lookup(NAME)[0] == DOWN


def test_within_grace_a_dead_resolver_is_asked_once_a_while_only() -> None:
    cache, script, clock = new(stale_grace=50, failure_ttl=1)
    cache.lookup(NAME)
    script.answer = DOWN
    clock.now += 100
    for _ in range(5):
        assert cache.lookup(NAME)[0] == Secure((RECORD,), 0, stale=True)
    assert len(script.asked) == 2
    clock.now += 1
    script.answer = GONE
    assert cache.lookup(NAME)[0] == GONE


def test_flush_ends_grace() -> None:
    cache, script, clock = new(stale_grace=5000)
    cache.lookup(NAME)
    clock.now += 100
    assert cache.stale(NAME) == Secure((RECORD,), 0, stale=True)
    assert cache.flush(NAME) == 1
    script.answer = DOWN
    assert cache.stale(NAME) is None
    assert cache.lookup(NAME)[0] == DOWN


# --- single flight, and bounds on waiting ----------------------------------------------------------------------------


def test_a_hundred_threads_one_lookup() -> None:
    cache, script, _ = new(max_waiting=200, max_waiting_per_domain=200)
    script.gate.clear()
    threads = Threads(cache)
    threads.start(*[NAME] * 100)
    until(lambda: cache.waiting == 100)
    script.gate.set()
    assert threads.join() == [GOOD] * 100
    assert script.asked == [NAME]
    assert cache.waiting == 0
    assert (cache.counts.misses, cache.counts.shared) == (1, 99)


def test_one_domain_cannot_take_all_threads() -> None:
    """A black-holed zone holds max_waiting_per_domain threads; another zone's device still gets its answer."""
    cache, script, _ = new(max_waiting=16, max_waiting_per_domain=4)
    script.gate.clear()
    threads = Threads(cache)
    threads.start(*(f"d{i}._device.dead.example" for i in range(20)))
    until(lambda: len(threads.results) == 16)
    assert cache.waiting == 4
    assert all(isinstance(answer, Unavailable) and answer.overloaded for answer, _ in threads.results)
    assert cache.counts.overloaded == 16
    threads.start(NAME)
    until(lambda: cache.waiting == 5)
    script.gate.set()
    assert threads.join().count(GOOD) == 5
    assert cache.lookup("d99._device.dead.example")[0] == GOOD


def test_all_domains_together_are_bounded() -> None:
    cache, script, _ = new(max_waiting=3, max_waiting_per_domain=3)
    script.gate.clear()
    threads = Threads(cache)
    threads.start(*(f"a._device.zone{i}.example" for i in range(5)))
    until(lambda: len(threads.results) == 2)
    assert cache.waiting == 3
    script.gate.set()
    assert threads.join().count(GOOD) == 3


def test_an_overload_is_not_remembered() -> None:
    cache, script, _ = new(max_waiting=1, max_waiting_per_domain=1)
    script.gate.clear()
    threads = Threads(cache)
    threads.start("a._device.dead.example")
    until(lambda: cache.waiting == 1)
    answer, _ = cache.lookup(NAME)
    assert isinstance(answer, Unavailable)
    assert answer.overloaded
    script.gate.set()
    threads.join()
    assert cache.lookup(NAME) == (GOOD, False)


def test_a_cached_answer_needs_no_place() -> None:
    cache, script, _ = new(max_waiting=1, max_waiting_per_domain=1)
    cache.lookup(NAME)
    script.gate.clear()
    threads = Threads(cache)
    threads.start("other._device.example.net")
    until(lambda: cache.waiting == 1)
    assert cache.lookup(NAME) == (GOOD, True)
    script.gate.set()
    threads.join()


def test_a_resolver_that_raises_is_unavailable_to_all_who_wait() -> None:
    def broken(name: str) -> Answer:
        raise RuntimeError(f"no {name}")

    cache, script, _ = new(broken, max_waiting=9, max_waiting_per_domain=9)
    script.gate.clear()
    threads = Threads(cache)
    threads.start(NAME, NAME, NAME)
    until(lambda: cache.waiting == 3)
    script.gate.set()
    answers = threads.join()
    assert len(answers) == 3
    assert all(isinstance(answer, Unavailable) and "RuntimeError" in answer.detail for answer in answers)
    assert cache.waiting == 0


# --- flush -----------------------------------------------------------------------------------------------------------


def test_flush_by_name_below_and_whole() -> None:
    cache, script, _ = new()
    names = ["_device.example.net", NAME, "b._device.example.net", "x_device.example.net", "a._device.example.org"]
    for name in names:
        cache.lookup(name)
    assert cache.flush("never._device.example.net") == 0
    assert cache.flush(NAME) == 1
    assert cache.lookup(NAME)[1] is False
    assert cache.flush("_device.example.net", below=True) == 3
    assert sorted(cache.names()) == sorted(names[3:])
    assert cache.flush() == 2
    assert len(cache) == 0
    assert len(script.asked) == len(names) + 1


@pytest.mark.parametrize("how", [(NAME, False), ("example.net", True), (None, False)])
def test_flush_during_a_flight(how: tuple[str | None, bool]) -> None:
    """What was asked before the flush is neither kept nor given to those who come after it."""
    cache, script, _ = new(max_waiting=9, max_waiting_per_domain=9)
    script.gate.clear()
    before = Threads(cache)
    before.start(NAME)
    assert script.entered.acquire(timeout=WAIT)
    cache.flush(how[0], below=how[1])
    script.answer = GONE
    after = Threads(cache)
    after.start(NAME)
    assert script.entered.acquire(timeout=WAIT)
    script.gate.set()
    assert before.join() == [GOOD]
    assert after.join() == [GONE]
    assert len(script.asked) == 2
    answer, cached = cache.lookup(NAME)
    assert cached
    assert isinstance(answer, SecureAbsent)


def test_flush_of_another_name_leaves_a_flight_alone() -> None:
    cache, script, _ = new()
    script.gate.clear()
    threads = Threads(cache)
    threads.start(NAME)
    assert script.entered.acquire(timeout=WAIT)
    cache.flush("b2._device.example.net")
    cache.flush("example.org", below=True)
    script.gate.set()
    threads.join()
    assert cache.lookup(NAME)[1] is True


# --- refresh ahead ---------------------------------------------------------------------------------------------------


@pytest.fixture
def refreshing() -> Iterator[tuple[AnswerCache, Script, Clock]]:
    made = new(refresh_ahead=0.2, stale_grace=0)
    made[0].start()
    yield made
    made[1].gate.set()
    made[0].stop()


def test_a_name_in_use_is_refreshed_before_it_expires(refreshing: tuple[AnswerCache, Script, Clock]) -> None:
    cache, script, clock = refreshing
    cache.lookup(NAME)
    clock.now += 79.9
    cache.lookup(NAME)
    assert cache.counts.refreshes == 0
    clock.now += 0.1
    assert cache.lookup(NAME)[1] is True
    until(lambda: cache.counts.refreshes == 1 and cache.lookup(NAME)[0] == GOOD)
    clock.now += 50
    # Beyond the first TTL, from the refreshed entry.
    assert cache.lookup(NAME) == (GOOD._replace(ttl=50), True)
    assert len(script.asked) == 2


def test_a_refresh_that_finds_nothing_ends_the_answer(refreshing: tuple[AnswerCache, Script, Clock]) -> None:
    cache, script, clock = refreshing
    cache.lookup(NAME)
    script.answer = GONE
    clock.now += 90
    assert cache.lookup(NAME)[1] is True
    until(lambda: isinstance(cache.lookup(NAME)[0], SecureAbsent))


def test_a_refresh_that_fails_leaves_the_answer_its_ttl(refreshing: tuple[AnswerCache, Script, Clock]) -> None:
    cache, script, clock = refreshing
    cache.lookup(NAME)
    script.answer = DOWN
    clock.now += 90
    cache.lookup(NAME)
    until(lambda: len(script.asked) == 2)
    cache.stop()
    assert cache.lookup(NAME) == (GOOD._replace(ttl=10), True)
    # Asked ahead of time once, not at every use.
    assert len(script.asked) == 2
    clock.now += 10
    assert cache.lookup(NAME)[0] == DOWN


def test_the_refresher_outlives_a_resolver_that_raises(refreshing: tuple[AnswerCache, Script, Clock]) -> None:
    cache, script, clock = refreshing

    def broken(name: str) -> Answer:
        raise RuntimeError(name)

    for name in (NAME, "b2._device.example.net"):
        script.answer = GOOD
        cache.lookup(name)
    script.answer = broken
    clock.now += 90
    cache.lookup(NAME)
    until(lambda: len(script.asked) == 3)
    script.answer = GONE
    cache.lookup("b2._device.example.net")
    until(lambda: isinstance(cache.lookup("b2._device.example.net")[0], SecureAbsent))


def test_flush_during_a_refresh(refreshing: tuple[AnswerCache, Script, Clock]) -> None:
    cache, script, clock = refreshing
    cache.lookup(NAME)
    assert script.entered.acquire(timeout=WAIT)
    script.gate.clear()
    clock.now += 90
    cache.lookup(NAME)
    assert script.entered.acquire(timeout=WAIT)
    cache.flush(NAME)
    script.gate.set()
    script.answer = GONE
    assert isinstance(cache.lookup(NAME)[0], SecureAbsent)
    cache.stop()
    assert isinstance(cache.lookup(NAME)[0], SecureAbsent)


@pytest.mark.parametrize("answer", [GONE, DOWN, Bogus(6, "")])
def test_only_good_answers_are_refreshed(answer: Answer, refreshing: tuple[AnswerCache, Script, Clock]) -> None:
    cache, script, clock = refreshing
    script.answer = answer
    cache.lookup(NAME)
    clock.now += 0.95
    cache.lookup(NAME)
    cache.stop()
    assert cache.counts.refreshes == 0
    assert len(script.asked) == 1


# --- size ------------------------------------------------------------------------------------------------------------


def test_the_name_unused_longest_goes_first() -> None:
    cache, _, _ = new(max_names=3)
    for name in "abc":
        cache.lookup(f"{name}.example.net")
    cache.lookup("a.example.net")
    cache.lookup("d.example.net")
    assert cache.names() == ["c.example.net", "a.example.net", "d.example.net"]
    assert cache.counts.evictions == 1


def test_memory_per_entry_is_as_documented() -> None:
    """CacheLimits.max_names promises about 0.6 KiB an entry with one digest record."""
    count = 2000

    def fresh(name: str) -> Answer:
        # As the codec makes it: no octet shared with another answer.
        return Secure((TlsaRecord(3, 1, 1, name.encode()[:32].ljust(32)),), 300 + len(name))

    cache, _, _ = new(fresh, max_names=count)
    cache.lookup("warm.up._device.example.net")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            cache.lookup(f"device{number:06}.camera._device.example.net")
        per_entry = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    print(f"{per_entry:.0f} octets an entry")
    assert len(cache) == count
    assert 300 < per_entry < 700

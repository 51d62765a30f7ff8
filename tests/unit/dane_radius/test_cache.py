"""The answer cache, with times that the test sets."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.tlsa import TlsaRecord
from dane_radius.dns.cache import AnswerCache, CacheLimits

NAME = "a1._device.example.net"
RECORD = TlsaRecord(3, 1, 1, b"\xaa" * 32)
GOOD = Secure((RECORD,), 100)
GONE = SecureAbsent(Absence.NXDOMAIN, 30)
DOWN = Unavailable("no answer")


def held(answer: Answer = GOOD, **limits: float) -> AnswerCache:
    """A cache that stored `answer` at time 0."""
    cache = AnswerCache(CacheLimits(**limits))  # type: ignore[arg-type]  # ints as floats
    cache.store(NAME, answer, 0)
    return cache


# --- time ------------------------------------------------------------------------------------------------------------


def test_an_answer_is_cached_for_its_ttl() -> None:
    cache = held()
    assert cache.get(NAME, 0) is GOOD
    assert cache.get(NAME, 60) == GOOD._replace(ttl=40)
    assert cache.get(NAME, 99.9) == GOOD._replace(ttl=0)
    assert cache.get(NAME, 100) is None
    assert (cache.remaining(NAME, 60), cache.remaining(NAME, 100), cache.remaining("b.example", 0)) == (40, 0, 0)


def test_an_answer_with_ttl_0_is_not_cached_and_removes_the_older_one() -> None:
    cache = held(GOOD._replace(ttl=0))
    assert (cache.get(NAME, 0), len(cache)) == (None, 0)
    cache = held()
    cache.store(NAME, GONE._replace(ttl=0), 1)
    assert cache.names() == []


def test_max_ttl_limits_the_ttl() -> None:
    cache = held(GOOD._replace(ttl=2**31 - 1), max_ttl=50)
    assert cache.get(NAME, 0) == GOOD._replace(ttl=50)
    assert cache.get(NAME, 50) is None


def test_denials_are_cached_for_their_negative_ttl() -> None:
    cache = held(GONE)
    assert cache.get(NAME, 29) == GONE._replace(ttl=1)
    assert cache.get(NAME, 30) is None


@pytest.mark.parametrize("failure", [DOWN, Bogus(6, "bogus"), Insecure("no AD", 3600)])
def test_failures_are_cached_for_failure_ttl(failure: Answer) -> None:
    cache = held(failure, failure_ttl=2)
    assert cache.get(NAME, 1.9) == failure
    assert cache.get(NAME, 2) is None
    assert len(held(failure, failure_ttl=0)) == 0


def test_each_name_has_its_own_answer() -> None:
    cache = held()
    cache.store("b2._device.example.net", GONE, 0)
    assert cache.get("b2._device.example.net", 1) == GONE._replace(ttl=29)
    assert cache.get(NAME, 1) == GOOD._replace(ttl=99)
    assert cache.get("c3._device.example.net", 1) is None


# --- stale answers ---------------------------------------------------------------------------------------------------

STALE = Secure((RECORD,), 0, stale=True)


def test_without_stale_grace_no_stale_answer_is_served() -> None:
    cache = held()
    cache.store(NAME, DOWN, 100)
    assert cache.get(NAME, 100) == DOWN
    assert cache.stale(NAME, 100) is None


def test_stale_grace_serves_a_marked_answer_while_the_resolver_is_unavailable() -> None:
    cache = held(stale_grace=50, failure_ttl=1)
    assert cache.get(NAME, 100) is None
    cache.store(NAME, DOWN, 100)
    assert cache.get(NAME, 100.9) == STALE
    # The failure is cached for failure_ttl. Then another lookup is needed.
    assert cache.get(NAME, 101) is None
    assert cache.stale(NAME, 149.9) == STALE
    assert cache.stale(NAME, 150) is None


@pytest.mark.parametrize("answer", [GONE, GONE._replace(ttl=0), Bogus(6, ""), Insecure("no AD")])
def test_stale_grace_applies_only_while_the_resolver_is_unavailable(answer: Answer) -> None:
    cache = held(stale_grace=5000)
    cache.store(NAME, answer, 100)
    # After a denial or a failed validation, the old answer is never served again.
    cache.store(NAME, DOWN, 200)
    assert cache.stale(NAME, 200) is None


def test_a_denial_is_never_served_stale_and_a_flush_ends_stale_grace() -> None:
    assert held(GONE, stale_grace=5000).stale(NAME, 31) is None
    cache = held(stale_grace=5000)
    assert cache.stale(NAME, 101) == STALE
    assert cache.flush(NAME) == 1
    assert cache.stale(NAME, 101) is None


# --- flush -----------------------------------------------------------------------------------------------------------


def test_a_flush_removes_a_name_the_names_below_it_or_all() -> None:
    cache = AnswerCache()
    names = ["_device.example.net", NAME, "b._device.example.net", "x_device.example.net", "a._device.example.org"]
    for name in names:
        cache.store(name, GOOD, 0)
    assert cache.flush("never._device.example.net") == 0
    assert cache.flush(NAME) == 1
    assert cache.flush("_device.example.net", below=True) == 2
    assert sorted(cache.names()) == sorted(names[3:])
    assert cache.flush() == 2
    assert (len(cache), cache.octets) == (0, 0)


# --- refresh ahead ---------------------------------------------------------------------------------------------------


def refreshing(answer: Answer, part: float = 0.2) -> tuple[AnswerCache, list[str]]:
    asked: list[str] = []
    cache = AnswerCache(CacheLimits(refresh_ahead=part), asked.append)
    cache.store(NAME, answer, 0)
    return cache, asked


def test_a_use_in_the_last_part_of_the_ttl_requests_one_refresh() -> None:
    cache, asked = refreshing(GOOD)
    cache.get(NAME, 79.9)
    assert asked == []
    cache.remaining(NAME, 90)
    assert asked == []
    assert cache.get(NAME, 80) == GOOD._replace(ttl=20)
    cache.get(NAME, 90)
    assert asked == [NAME]
    # A failed refresh keeps the answer until its TTL ends, and is not requested again.
    cache.store(NAME, DOWN, 91)
    assert cache.get(NAME, 95) == GOOD._replace(ttl=5)
    assert asked == [NAME]
    cache.store(NAME, GOOD, 96)
    assert cache.get(NAME, 176) is not None
    assert asked == [NAME, NAME]


@pytest.mark.parametrize("answer", [GONE, DOWN, Bogus(6, "")])
def test_only_positive_answers_are_refreshed(answer: Answer) -> None:
    cache, asked = refreshing(answer)
    assert cache.get(NAME, 0.99) is not None
    assert asked == []


def test_refresh_ahead_0_turns_refreshes_off() -> None:
    cache, asked = refreshing(GOOD, 0.0)
    assert cache.get(NAME, 99.9) is not None
    assert asked == []


# --- size ------------------------------------------------------------------------------------------------------------


def test_the_name_used_least_recently_is_evicted_first() -> None:
    cache = AnswerCache(CacheLimits(max_names=3))
    for name in ("a.example", "b.example", "c.example"):
        cache.store(name, GOOD, 0)
    assert cache.get("a.example", 1) is not None
    cache.store("d.example", GOOD, 1)
    assert cache.names() == ["c.example", "a.example", "d.example"]
    assert cache.evictions == 1


def test_max_octets_limits_large_answers() -> None:
    large = Secure(tuple(TlsaRecord(3, 0, 0, bytes([number]) * 2000) for number in range(30)), 100)
    cache = AnswerCache(CacheLimits(max_octets=1_000_000))
    for number in range(100):
        cache.store(f"d{number}.example", large, 0)
    assert cache.octets <= 1_000_000
    assert 10 <= len(cache) <= 16
    # An answer that would evict many others is not cached.
    before = cache.names()
    cache.store("huge.example", Secure((TlsaRecord(3, 0, 0, b"x" * 200_000),), 100), 0)
    assert cache.names() == before


def test_a_sweep_removes_expired_entries() -> None:
    cache = AnswerCache(CacheLimits(stale_grace=20))
    for number in range(50):
        cache.store(f"short{number}.example", GOOD._replace(ttl=10), 0)
    cache.store(NAME, GOOD, 0)
    assert cache.sweep(25) == 0, "stale_grace is not over"
    assert cache.sweep(60, at_most=30) == 30
    assert cache.sweep(60) == 20
    assert cache.names() == [NAME]
    assert cache.sweep(1000) == 1
    assert (len(cache), cache.octets) == (0, 0)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("store"), st.integers(0, 5), st.sampled_from([GOOD, GONE, DOWN, Bogus(6, "")])),
            st.tuples(st.just("sweep"), st.integers(0, 5), st.just(GOOD)),
            st.tuples(st.just("flush"), st.integers(0, 5), st.just(GOOD)),
            st.tuples(st.just("wait"), st.integers(0, 80), st.just(GOOD)),
        ),
        max_size=40,
    )
)
def test_the_count_of_octets_is_the_sum_over_the_entries(steps: list[tuple[str, int, Answer]]) -> None:
    cache = AnswerCache(CacheLimits(max_names=4))
    now = 0.0
    for what, number, answer in steps:
        name = f"d{number}.example"
        match what:
            case "store":
                cache.store(name, answer, now)
            case "sweep":
                cache.sweep(now, number)
            case "flush":
                cache.flush(name)
            case _:
                now += number
    assert len(cache) <= 4
    assert cache.octets == sum(entry.octets for entry in cache._entries.values())
    bucketed = [name for names in cache._buckets.values() for name in names]
    assert sorted(bucketed) == sorted(cache.names())
    cache.flush()
    assert (cache.octets, cache._buckets) == (0, {})


@pytest.mark.parametrize("records", [1, 8])
def test_memory_per_entry_is_as_estimated(records: int) -> None:
    """`CacheLimits` states about 0.6 KiB for an entry with one digest record. The estimate must be close."""
    count = 2000

    def fresh(name: str) -> Answer:
        # As the codec does: the answers share no octets.
        return Secure(
            tuple(TlsaRecord(3, 1, 1, f"{number}{name}".encode()[:32].ljust(32)) for number in range(records)),
            300 + len(name),
        )

    cache = AnswerCache(CacheLimits(max_names=count))
    cache.store("warm.up._device.example.net", fresh("warm.up"), 0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            name = f"device{number:06}.camera._device.example.net"
            cache.store(name, fresh(name), 0)
        per_entry = (tracemalloc.get_traced_memory()[0] - before) / count
    finally:
        tracemalloc.stop()
    estimated = cache.octets / count
    print(f"{per_entry:.0f} octets an entry, {estimated:.0f} estimated")
    assert len(cache) == count
    assert 0.7 < estimated / per_entry < 1.4
    if records == 1:
        assert 300 < per_entry < 800

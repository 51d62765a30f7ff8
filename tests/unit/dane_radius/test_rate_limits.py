"""Token buckets: the rate of each key, the common rate, and bounded memory."""

from __future__ import annotations

import pytest

from dane_radius.local.rate_limits import RateLimiter, RecentlySeen


def allowed(limiter: RateLimiter, key: str, now: float, tries: int = 100) -> int:
    return sum(limiter.allow(key, now) for _ in range(tries))


def test_a_key_has_its_own_rate_and_shares_the_common_one() -> None:
    limiter = RateLimiter(10, 4)
    assert [allowed(limiter, key, 1.0) for key in ("a", "b", "c")] == [4, 4, 2]
    assert allowed(limiter, "a", 1.5) == 2
    assert allowed(limiter, "a", 100.0) == 4, "a bucket holds the tokens of one second"


def test_a_rate_below_one_allows_single_uses() -> None:
    limiter = RateLimiter(100, 0.5)
    assert [allowed(limiter, "a", now) for now in (1.0, 2.0, 3.0, 3.5, 5.0)] == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("rates", [(0, 5), (5, 0), (0, 0)])
def test_a_rate_of_0_allows_nothing(rates: tuple[float, float]) -> None:
    limiter = RateLimiter(*rates)
    assert [allowed(limiter, key, now) for key in ("a", "b") for now in (0.0, 1.0, 1e6)] == [0] * 6


def test_an_evicted_key_is_still_under_the_common_rate() -> None:
    limiter = RateLimiter(10, 1, max_keys=3)
    assert sum(limiter.allow(f"key{number}", 1.0) for number in range(1000)) == 10


def test_keys_expire_and_the_oldest_are_evicted() -> None:
    seen = RecentlySeen(10, max_keys=2)
    for number, key in enumerate(("a", "b", "a", "c")):
        seen.add(key, float(number))
    assert len(seen) == 2
    assert [(key, 4.0) in seen for key in ("a", "b", "c")] == [True, False, True]
    assert [("a", now) in seen for now in (11.9, 12.0)] == [True, False]


def test_a_clock_that_steps_back_grants_nothing_more() -> None:
    limiter = RateLimiter(10, 2)
    assert allowed(limiter, "a", 1.0) == 2
    assert allowed(limiter, "a", 0.5) == 0


def test_random_keys_do_not_fill_the_memory() -> None:
    limiter, recent = RateLimiter(1e9, 1.0, max_keys=100), RecentlySeen(60, max_keys=100)
    for number in range(10_000):
        limiter.allow(str(number), 0.0)
        recent.add(str(number), 0.0)
    assert len(limiter._buckets) <= 100
    assert len(recent) <= 100
    assert ("9999", 59.0) in recent
    assert ("9999", 61.0) not in recent

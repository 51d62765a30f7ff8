"""The rate limits of hints: for each key, in total, and in bounded memory."""

from __future__ import annotations

from dane_radius.local import RateLimiter, RecentlySeen


def test_rates_hold_for_each_key_and_in_all() -> None:
    limiter = RateLimiter(10, 2)
    assert [limiter.allow("a", 0.0) for _ in range(4)] == [True, True, False, False]
    assert sum(limiter.allow(f"k{n}", 0.0) for n in range(50)) == 8
    assert limiter.allow("a", 1.0)
    # A clock that steps back grants nothing more.
    assert sum(limiter.allow("a", 0.5) for _ in range(9)) <= 1


def test_random_keys_do_not_fill_the_memory() -> None:
    limiter, recent = RateLimiter(1e9, 1.0, max_keys=100), RecentlySeen(60, max_keys=100)
    for number in range(10_000):
        limiter.allow(str(number), 0.0)
        recent.add(str(number), 0.0)
    assert len(limiter._buckets) <= 100
    assert len(recent) <= 100
    assert ("9999", 59.0) in recent
    assert ("9999", 61.0) not in recent

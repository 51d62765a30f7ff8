"""Rate limits with bounded memory: a flood of random names must not exhaust it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


def _capacity(rate: float) -> float:
    return max(1.0, rate) if rate > 0 else 0.0


class RateLimiter:
    """Token buckets: one for each key, and a common one. Times are seconds of the caller's clock. Not thread-safe.

    A bucket holds the tokens of one second, but at least one. A rate of 0 allows nothing. Beyond `max_keys`, the bucket
    used least recently is evicted. An evicted key gets a full bucket again, but the common bucket still limits it.
    """

    def __init__(self, rate: float, rate_per_key: float, max_keys: int = 4096) -> None:
        self._rate, self._rate_per_key, self._max_keys = rate, rate_per_key, max_keys
        self._common = _Bucket(_capacity(rate), 0.0)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def allow(self, key: str, now: float) -> bool:
        """Take a token for `key` from its bucket and the common one; False, with none taken, if either is empty."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(_capacity(self._rate_per_key), now)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        for each, rate in ((bucket, self._rate_per_key), (self._common, self._rate)):
            each.tokens = min(_capacity(rate), each.tokens + max(0.0, now - each.filled) * rate)
            each.filled = now
        if bucket.tokens < 1 or self._common.tokens < 1:
            return False
        bucket.tokens -= 1
        self._common.tokens -= 1
        return True


class RecentlySeen:
    """A set whose keys expire after `seconds`. Beyond `max_keys`, the oldest key is evicted. Not thread-safe."""

    def __init__(self, seconds: float, max_keys: int = 4096) -> None:
        self._seconds, self._max_keys = seconds, max_keys
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, key: str, now: float) -> None:
        self._until[key] = now + self._seconds
        self._until.move_to_end(key)
        if len(self._until) > self._max_keys:
            self._until.popitem(last=False)

    def clear(self) -> None:
        self._until.clear()

    def __contains__(self, item: tuple[str, float]) -> bool:
        """Whether the key of a (key, now) has not expired."""
        key, now = item
        return self._until.get(key, 0.0) > now

    def __len__(self) -> int:
        return len(self._until)

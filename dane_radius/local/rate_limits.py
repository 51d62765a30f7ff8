"""Rate limits whose own cost is bounded: whoever sends random names must not fill the memory with them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class RateLimiter:
    """Token buckets: one for all, and one for each key. Times are seconds of the caller's clock. Not thread-safe.

    A bucket holds one second's worth of tokens, at least one. Of `max_keys` buckets the one unused longest goes first;
    coming back, it is full again, which the common bucket bounds.
    """

    def __init__(self, rate: float, rate_per_key: float, max_keys: int = 4096) -> None:
        self._rate, self._rate_per_key, self._max_keys = rate, rate_per_key, max_keys
        self._common = _Bucket(max(1.0, rate), 0.0)
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def allow(self, key: str, now: float) -> bool:
        """Take a token for `key`; False when there is none, and then none is taken."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(max(1.0, self._rate_per_key), now)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        for each, rate in ((bucket, self._rate_per_key), (self._common, self._rate)):
            each.tokens = min(max(1.0, rate), each.tokens + max(0.0, now - each.filled) * rate)
            each.filled = now
        if bucket.tokens < 1 or self._common.tokens < 1:
            return False
        bucket.tokens -= 1
        self._common.tokens -= 1
        return True


class RecentlySeen:
    """Remembers keys for `seconds`, and at most `max_keys` of them. Not thread-safe."""

    def __init__(self, seconds: float, max_keys: int = 4096) -> None:
        self._seconds, self._max_keys = seconds, max_keys
        self._until: OrderedDict[str, float] = OrderedDict()

    def add(self, key: str, now: float) -> None:
        self._until[key] = now + self._seconds
        self._until.move_to_end(key)
        if len(self._until) > self._max_keys:
            self._until.popitem(last=False)

    def forget(self, key: str) -> None:
        self._until.pop(key, None)

    def clear(self) -> None:
        self._until.clear()

    def __contains__(self, item: tuple[str, float]) -> bool:
        """Whether a (key, now) is remembered still."""
        key, now = item
        return self._until.get(key, 0.0) > now

    def __len__(self) -> int:
        return len(self._until)

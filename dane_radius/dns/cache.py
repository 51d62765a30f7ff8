"""The cache of TLSA answers, for as long as their TTLs and the limits allow. No I/O, no clock, no lock of its own."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from dane_radius.core.answers import Answer, Secure, SecureAbsent, Unavailable
from dane_radius.core.names import is_within

# Memory of the Python objects for one entry and for one record, without their data. tests/unit measures it.
_ENTRY_OCTETS = 420
_RECORD_OCTETS = 170
# One name may take this fraction of the memory at most (1/8); a larger answer is used but not cached.
_LARGEST_SHARE = 8
# Entries that expire within the same period of so many seconds are removed together.
_BUCKET_SECONDS = 8


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Limits of a cache. Times are seconds.

    max_names: entries. max_octets: their estimated memory. Beyond either, the entry used least recently is evicted. An
    entry with one digest record takes about 0.6 KiB.
    max_ttl: the longest time that an answer is cached, whatever its TTL.
    failure_ttl: how long a failed lookup (bogus, insecure, unavailable) is cached.
    refresh_ahead: the last part of a TTL in which a use of the entry requests its refresh (0.2: the last fifth).
    stale_grace: how long after its TTL a positive answer may be served while the resolver is unavailable; 0: never.
    """

    max_names: int = 100_000
    max_octets: int = 64 * 1024 * 1024
    max_ttl: float = 86_400.0
    failure_ttl: float = 1.0
    refresh_ahead: float = 0.2
    stale_grace: float = 0.0


# Built once: `isinstance` with a union expression builds the union at each call.
_AGING = (Secure, SecureAbsent)


@dataclass(slots=True)
class _Entry:
    answer: Answer
    expires: float
    # The first use of the entry after this time requests its refresh. Infinity: never.
    refresh_from: float
    octets: int
    # When the last lookup failed: the end of failure_ttl, until which the stale answer is served without a lookup.
    failed_until: float = 0.0


class AnswerCache:
    """Answers by normalized name. `now` is always in seconds of one monotonic clock."""

    def __init__(self, limits: CacheLimits | None = None, refresh: Callable[[str], None] | None = None) -> None:
        """`refresh` is called with the name of an entry that is used in the last part of its TTL."""
        self._limits = limits or CacheLimits()
        self._refresh = refresh
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        # Names by the period in which their entries, stale_grace included, expire.
        self._buckets: dict[int, set[str]] = {}
        self.octets = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> list[str]:
        """The cached names, the one used least recently first."""
        return list(self._entries)

    def get(self, name: str, now: float) -> Answer | None:
        """The cached answer for `name`, with its remaining TTL; None if a lookup is needed."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if now >= entry.expires:
            # A lookup failed less than failure_ttl ago: no further device waits for another one.
            return self.stale(name, now) if now < entry.failed_until else None
        self._entries.move_to_end(name)
        if now >= entry.refresh_from and self._refresh is not None:
            entry.refresh_from = math.inf
            self._refresh(name)
        answer = entry.answer
        if isinstance(answer, _AGING):
            left = int(entry.expires - now)
            return answer if left == answer.ttl else answer.aged(left)
        return answer

    def remaining(self, name: str, now: float) -> float:
        """Seconds until the cached answer for `name` expires; 0 without one. Does not count as a use of the entry."""
        entry = self._entries.get(name)
        return max(0.0, entry.expires - now) if entry is not None else 0.0

    def stale(self, name: str, now: float) -> Secure | None:
        """The positive answer that may be served while the resolver is unavailable (`stale_grace`), marked as stale."""
        entry = self._entries.get(name)
        if entry is None or not isinstance(entry.answer, Secure):
            return None
        grace = self._limits.stale_grace
        return entry.answer._replace(ttl=0, stale=True) if grace > 0 and now < entry.expires + grace else None

    def store(self, name: str, answer: Answer, now: float) -> None:
        """Cache the result of a lookup of `name` for as long as the limits allow."""
        if isinstance(answer, Secure | SecureAbsent):
            lifetime = min(float(answer.ttl), self._limits.max_ttl)
        else:
            lifetime = self._limits.failure_ttl
            if isinstance(answer, Unavailable) and self._outlives_failure(name, now):
                self._entries[name].failed_until = now + self._limits.failure_ttl
                return
        if lifetime <= 0:
            self._remove(name)
            return
        part = self._limits.refresh_ahead if isinstance(answer, Secure) else 0.0
        refresh_from = now + lifetime * (1 - part) if part else math.inf
        self._insert(name, _Entry(answer, now + lifetime, refresh_from, _octets(name, answer)))

    def _outlives_failure(self, name: str, now: float) -> bool:
        """Whether a failed lookup keeps the entry: a positive answer stays until its TTL and its stale_grace end.

        No further refresh is requested for it: an unreachable zone is asked ahead of expiry once, not at each use.
        """
        old = self._entries.get(name)
        return old is not None and isinstance(old.answer, Secure) and now < old.expires + self._limits.stale_grace

    def _insert(self, name: str, entry: _Entry) -> None:
        self._remove(name)
        if entry.octets > self._limits.max_octets // _LARGEST_SHARE:
            return
        self._entries[name] = entry
        self._buckets.setdefault(self._bucket(entry), set()).add(name)
        self.octets += entry.octets
        while len(self._entries) > self._limits.max_names or self.octets > self._limits.max_octets:
            self._remove(next(iter(self._entries)))
            self.evictions += 1

    def _remove(self, name: str) -> bool:
        entry = self._entries.pop(name, None)
        if entry is None:
            return False
        self.octets -= entry.octets
        bucket = self._bucket(entry)
        names = self._buckets.get(bucket)
        if names is not None:
            names.discard(name)
            if not names:
                del self._buckets[bucket]
        return True

    def _bucket(self, entry: _Entry) -> int:
        return int((entry.expires + self._limits.stale_grace) // _BUCKET_SECONDS)

    def sweep(self, now: float, at_most: int = 1000) -> int:
        """Remove up to `at_most` entries whose TTL and stale_grace are over; returns the number removed."""
        removed = 0
        current = int(now // _BUCKET_SECONDS)
        for bucket in [bucket for bucket in self._buckets if bucket < current]:
            for name in list(self._buckets[bucket])[: at_most - removed]:
                self._remove(name)
                removed += 1
            if removed >= at_most:
                break
        return removed

    def flush(self, name: str | None = None, *, below: bool = False) -> int:
        """Remove `name` (`below`: and every name under it), or all entries; returns the number removed."""
        if name is None:
            names = list(self._entries)
        elif below:
            names = [known for known in self._entries if is_within(known, name)]
        else:
            names = [name] if name in self._entries else []
        for known in names:
            self._remove(known)
        return len(names)


def _octets(name: str, answer: Answer) -> int:
    octets = _ENTRY_OCTETS + len(name)
    if isinstance(answer, Secure):
        octets += sum(_RECORD_OCTETS + len(record.data) for record in answer.records)
        octets += sum(_RECORD_OCTETS + len(why) for why in answer.malformed)
    return octets

"""TLSA answers kept for as long as the DNS allows, and never longer. No I/O, no clock, no lock of its own."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from dane_radius.core.answers import Answer, Secure, SecureAbsent, Unavailable
from dane_radius.core.names import is_within

# What Python's objects for one entry and for one record take, data not counted: measured by tests/unit.
_ENTRY_OCTETS = 420
_RECORD_OCTETS = 170
# One name may take this part of the memory at most; a larger answer is used and not kept.
_LARGEST_SHARE = 8
# Entries that end within the same span of so many seconds are removed together.
_SWEEP_SECONDS = 8


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of a cache. Times are seconds.

    max_names: entries kept. max_octets: memory that they may take, estimated; beyond either, the entry unused longest
    goes first. An entry takes about 0.6 KiB with one digest record.
    max_ttl: no answer is kept longer, whatever its TTL.
    failure_ttl: how long a failed lookup (bogus, insecure, unavailable) answers for the name without asking again.
    refresh_ahead: the last part of a TTL in which a use of the entry asks for its refresh (0.2: the last fifth).
    stale_grace: how long beyond its TTL a positive answer may serve while the resolver is unavailable; 0: never.
    """

    max_names: int = 100_000
    max_octets: int = 64 * 1024 * 1024
    max_ttl: float = 86_400.0
    failure_ttl: float = 1.0
    refresh_ahead: float = 0.2
    stale_grace: float = 0.0


# Made once: `isinstance` with a union makes the union anew at each call.
_AGING = (Secure, SecureAbsent)


@dataclass(slots=True)
class _Entry:
    answer: Answer
    expires: float
    # A use of the entry from then on asks for its refresh, once; never: infinity.
    refresh_from: float
    octets: int
    # Kept for its stale_grace although the last lookup failed: until then nobody asks again.
    failed_until: float = 0.0


class AnswerCache:
    """Answers by normalized name. `now` is always the time of one monotonic clock, in seconds."""

    def __init__(self, limits: CacheLimits | None = None, refresh: Callable[[str], None] | None = None) -> None:
        """`refresh` is called with a name that is in use and close to its end."""
        self._limits = limits or CacheLimits()
        self._refresh = refresh
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._ends: dict[int, set[str]] = {}
        self.octets = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> list[str]:
        """The names that are held, the one unused longest first."""
        return list(self._entries)

    def get(self, name: str, now: float) -> Answer | None:
        """The answer held for `name`, its `ttl` being what is left of it; None when the DNS has to be asked."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if now >= entry.expires:
            # A lookup that has just failed: what stale_grace allows, without making each device wait for the same.
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

    def left(self, name: str, now: float) -> float:
        """Seconds that the answer held for `name` may still be used; 0 without one. Is no use of the entry."""
        entry = self._entries.get(name)
        return max(0.0, entry.expires - now) if entry is not None else 0.0

    def stale(self, name: str, now: float) -> Secure | None:
        """An expired positive answer that `stale_grace` still allows, for when the resolver is unavailable."""
        entry = self._entries.get(name)
        if entry is None or not isinstance(entry.answer, Secure):
            return None
        grace = self._limits.stale_grace
        return entry.answer._replace(ttl=0, stale=True) if grace > 0 and now < entry.expires + grace else None

    def keep(self, name: str, answer: Answer, now: float) -> None:
        """Hold what the DNS has just said about `name`, as far as it may be held."""
        if isinstance(answer, Secure | SecureAbsent):
            lifetime = min(float(answer.ttl), self._limits.max_ttl)
        else:
            lifetime = self._limits.failure_ttl
            if isinstance(answer, Unavailable) and self._outlives(name, now):
                self._entries[name].failed_until = now + self._limits.failure_ttl
                return
        if lifetime <= 0:
            self._remove(name)
            return
        part = self._limits.refresh_ahead if isinstance(answer, Secure) else 0.0
        refresh_from = now + lifetime * (1 - part) if part else math.inf
        self._put(name, _Entry(answer, now + lifetime, refresh_from, _octets(name, answer)))

    def _outlives(self, name: str, now: float) -> bool:
        """Whether a failed lookup leaves what is held: a good answer serves out its TTL, and its stale_grace.

        Its refresh is not due again, so that an unreachable zone is asked ahead of time once, not at every use.
        """
        old = self._entries.get(name)
        return old is not None and isinstance(old.answer, Secure) and now < old.expires + self._limits.stale_grace

    def _put(self, name: str, entry: _Entry) -> None:
        self._remove(name)
        if entry.octets > self._limits.max_octets // _LARGEST_SHARE:
            return
        self._entries[name] = entry
        self._ends.setdefault(self._span(entry), set()).add(name)
        self.octets += entry.octets
        while len(self._entries) > self._limits.max_names or self.octets > self._limits.max_octets:
            self._remove(next(iter(self._entries)))
            self.evictions += 1

    def _remove(self, name: str) -> bool:
        entry = self._entries.pop(name, None)
        if entry is None:
            return False
        self.octets -= entry.octets
        span = self._span(entry)
        names = self._ends.get(span)
        if names is not None:
            names.discard(name)
            if not names:
                del self._ends[span]
        return True

    def _span(self, entry: _Entry) -> int:
        return int((entry.expires + self._limits.stale_grace) // _SWEEP_SECONDS)

    def sweep(self, now: float, at_most: int = 1000) -> int:
        """Remove up to `at_most` entries that can be of no use any more; returns how many went."""
        gone = 0
        present = int(now // _SWEEP_SECONDS)
        for span in [span for span in self._ends if span < present]:
            for name in list(self._ends[span])[: at_most - gone]:
                self._remove(name)
                gone += 1
            if gone >= at_most:
                break
        return gone

    def flush(self, name: str | None = None, *, below: bool = False) -> int:
        """Forget `name` (`below`: and every name under it), or everything; returns how many entries went."""
        if name is None:
            doomed = list(self._entries)
        elif below:
            doomed = [known for known in self._entries if is_within(known, name)]
        else:
            doomed = [name] if name in self._entries else []
        for known in doomed:
            self._remove(known)
        return len(doomed)


def _octets(name: str, answer: Answer) -> int:
    octets = _ENTRY_OCTETS + len(name)
    if isinstance(answer, Secure):
        octets += sum(_RECORD_OCTETS + len(record.data) for record in answer.records)
        octets += sum(_RECORD_OCTETS + len(why) for why in answer.malformed)
    return octets

"""TLSA answers kept for as long as the DNS allows, and never longer.

Worker threads of the RADIUS server come here. What they need: an answer that is still valid at once; otherwise one
lookup per name however many devices ask (single flight); a bound on how many threads may wait, in all and for one
identity domain, so that a black-holed zone cannot take the server away from everybody else; and names in use
refreshed before they expire, off the path.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, Full, Queue

from dane_radius.answers import Answer, Secure, SecureAbsent, Unavailable
from dane_radius.names import identity_domain, is_within
from dane_radius.resolver import Resolver

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """Bounds of a cache. Times are seconds.

    max_names: entries kept; the one unused longest goes first. An entry takes about 0.6 KiB with one digest record.
    max_ttl: no answer is kept longer, whatever its TTL.
    failure_ttl: how long a failed lookup (bogus, insecure, unavailable) answers for the name without asking again.
    max_waiting: threads that may wait for the DNS at once; the next one is refused with `dns_overloaded`.
    max_waiting_per_domain: the same for the names of one identity domain.
    refresh_ahead: the last part of a TTL in which a use of the entry starts its refresh (0.2: the last fifth); 0: off.
    stale_grace: how long beyond its TTL a positive answer may serve while the resolver is unavailable; 0: never.
    """

    max_names: int = 100_000
    max_ttl: float = 86_400.0
    failure_ttl: float = 1.0
    max_waiting: int = 16
    max_waiting_per_domain: int = 4
    refresh_ahead: float = 0.2
    stale_grace: float = 0.0


# Made once: `isinstance` with a union makes the union anew at each call.
_AGING = (Secure, SecureAbsent)


@dataclass(slots=True)
class _Entry:
    answer: Answer
    expires: float
    # A use of the entry from then on starts its refresh, once; never: infinity.
    refresh_from: float
    # Kept for its stale_grace although the last lookup failed: until then nobody asks again.
    failed_until: float = 0.0


@dataclass(slots=True)
class _Flight:
    """One lookup under way, and whoever waits for it."""

    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None
    # Flushed meanwhile: those who wait may have the answer, the cache may not.
    forget: bool = False


@dataclass(slots=True)
class CacheCounts:
    """Since the start; for metrics."""

    hits: int = 0
    misses: int = 0
    shared: int = 0
    refreshes: int = 0
    stale: int = 0
    overloaded: int = 0
    evictions: int = 0


class AnswerCache:
    """A resolver behind a cache. Thread-safe; `lookup` waits no longer than the resolver's own deadline."""

    def __init__(self, resolver: Resolver, limits: CacheLimits | None = None, clock: Clock = time.monotonic) -> None:
        self._resolver = resolver
        self._limits = limits or CacheLimits()
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._flights: dict[str, _Flight] = {}
        self._waiting = 0
        self._waiting_in: dict[str, int] = {}
        self._refresh_queue: Queue[str | None] = Queue(maxsize=1024)
        self._refresher: threading.Thread | None = None
        self.counts = CacheCounts()

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> list[str]:
        """The names that are held now."""
        with self._lock:
            return list(self._entries)

    @property
    def waiting(self) -> int:
        """Threads that wait for the DNS now."""
        return self._waiting

    def cached(self, name: str) -> Answer | None:
        """The answer held for a normalized name, its `ttl` being what is left of it; None without one."""
        now = self._clock()
        with self._lock:
            return self._held(name, now)

    def _held(self, name: str, now: float) -> Answer | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        if now >= entry.expires:
            if now >= entry.failed_until:
                return None
            # The lookup has just failed: what stale_grace allows, without making each device wait for the same again.
            stale = self._stale_or(name, Unavailable(""), now)
            return stale if isinstance(stale, Secure) else None
        self._entries.move_to_end(name)
        self.counts.hits += 1
        if now >= entry.refresh_from:
            self._refresh(name, entry)
        answer = entry.answer
        if isinstance(answer, _AGING):
            left = int(entry.expires - now)
            return answer if left == answer.ttl else answer.aged(left)
        return answer

    def stale(self, name: str) -> Answer | None:
        """An expired positive answer that `stale_grace` still allows, for when the resolver does not answer."""
        with self._lock:
            answer = self._stale_or(name, Unavailable(""), self._clock())
        return answer if isinstance(answer, Secure) else None

    def lookup(self, name: str) -> tuple[Answer, bool]:
        """The answer for a normalized name, and whether it came from the cache.

        A cached answer's `ttl` is what is left of it.
        """
        now = self._clock()
        with self._lock:
            held = self._held(name, now)
            if held is not None:
                return held, True
            flight = self._flights.get(name)
            leads = flight is None
            domain = identity_domain(name)
            if (
                self._waiting >= self._limits.max_waiting
                or self._waiting_in.get(domain, 0) >= self._limits.max_waiting_per_domain
            ):
                self.counts.overloaded += 1
                return self._stale_or(
                    name,
                    Unavailable(f"{self._waiting} threads wait for the DNS already", overloaded=True),
                    now,
                ), False
            self._waiting += 1
            self._waiting_in[domain] = self._waiting_in.get(domain, 0) + 1
            if flight is None:
                flight = self._flights[name] = _Flight()
                self.counts.misses += 1
            else:
                self.counts.shared += 1
        try:
            if leads:
                self._fly(name, flight)
            else:
                flight.done.wait()
        finally:
            with self._lock:
                self._waiting -= 1
                self._waiting_in[domain] -= 1
                if not self._waiting_in[domain]:
                    del self._waiting_in[domain]
        answer = flight.answer or Unavailable("the lookup that this one shared did not finish")
        if isinstance(answer, Unavailable):
            with self._lock:
                answer = self._stale_or(name, answer, self._clock())
        return answer, False

    def _fly(self, name: str, flight: _Flight) -> None:
        """Ask the resolver, keep the answer, and wake whoever shares the flight."""
        try:
            flight.answer = self._resolver.lookup(name)
        except Exception as error:
            # A resolver promises not to raise. If one does, nobody may be let in, left waiting, or lose the refresher.
            flight.answer = Unavailable(f"the lookup failed: {type(error).__name__}: {error}")
        finally:
            with self._lock:
                if self._flights.get(name) is flight:
                    del self._flights[name]
                if flight.answer is not None and not flight.forget:
                    self._keep(name, flight.answer)
            flight.done.set()

    def _keep(self, name: str, answer: Answer) -> None:
        now = self._clock()
        old = self._entries.get(name)
        if isinstance(answer, Secure | SecureAbsent):
            lifetime = min(float(answer.ttl), self._limits.max_ttl)
        else:
            lifetime = self._limits.failure_ttl
            # A good answer serves out its TTL, and may serve under stale_grace: it is not overwritten. Its refresh
            # is not due again, so that an unreachable zone is asked ahead of time once, not at every use.
            if (
                isinstance(answer, Unavailable)
                and old is not None
                and isinstance(old.answer, Secure)
                and now < old.expires + self._limits.stale_grace
            ):
                old.failed_until = now + self._limits.failure_ttl
                return
        if lifetime <= 0:
            self._entries.pop(name, None)
            return
        part = self._limits.refresh_ahead if isinstance(answer, Secure) else 0.0
        self._entries[name] = _Entry(answer, now + lifetime, now + lifetime * (1 - part) if part else math.inf)
        self._entries.move_to_end(name)
        while len(self._entries) > self._limits.max_names:
            self._entries.popitem(last=False)
            self.counts.evictions += 1

    def _stale_or(self, name: str, failure: Unavailable, now: float) -> Answer:
        entry = self._entries.get(name)
        grace = self._limits.stale_grace
        if entry is not None and isinstance(entry.answer, Secure) and grace > 0 and now < entry.expires + grace:
            self.counts.stale += 1
            return entry.answer._replace(ttl=0, stale=True)
        return failure

    def _refresh(self, name: str, entry: _Entry) -> None:
        if self._refresher is None:
            return
        try:
            self._refresh_queue.put_nowait(name)
            entry.refresh_from = math.inf
        except Full:
            # Busy: the entry simply expires, and the next device looks it up itself.
            pass

    def start(self) -> None:
        """Start the thread that refreshes names in use before they expire."""
        if self._refresher is None and self._limits.refresh_ahead > 0:
            self._refresher = threading.Thread(target=self._refresh_loop, name="tlsa-refresh", daemon=True)
            self._refresher.start()

    def stop(self) -> None:
        """End that thread; a lookup under way is waited for."""
        if self._refresher is not None:
            refresher, self._refresher = self._refresher, None
            while True:
                try:
                    self._refresh_queue.put_nowait(None)
                    break
                except Full:
                    try:
                        self._refresh_queue.get_nowait()
                    except Empty:
                        continue
            refresher.join(timeout=10)

    def _refresh_loop(self) -> None:
        while (name := self._refresh_queue.get()) is not None:
            with self._lock:
                if name in self._flights or name not in self._entries:
                    continue
                flight = self._flights[name] = _Flight()
                self.counts.refreshes += 1
            self._fly(name, flight)

    def flush(self, name: str | None = None, *, below: bool = False) -> int:
        """Forget `name` (`below`: and every name under it), or everything; returns how many entries went.

        A lookup that is under way is neither kept nor shared with those who come later: it may have been answered
        before the change.
        """
        with self._lock:
            for flying in list(self._flights):
                if name is None or flying == name or (below and is_within(flying, name)):
                    self._flights.pop(flying).forget = True
            if name is None:
                gone = len(self._entries)
                self._entries.clear()
                return gone
            if not below:
                return 1 if self._entries.pop(name, None) is not None else 0
            doomed = [known for known in self._entries if is_within(known, name)]
            for known in doomed:
                del self._entries[known]
            return len(doomed)

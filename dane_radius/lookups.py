"""Lookups that the authentication path starts early and hardly ever waits for.

FreeRADIUS serialises all calls of rlm_python3: while one waits, every other device waits behind it. So

- a lookup runs in a thread of our own, and is started as soon as the handshake has proven the certificate, one round
  trip to the device before the decision needs the answer;
- the decision may wait for the rest of it, but only out of a budget that refills slowly: however many devices of a dead
  zone arrive, the time that others lose is at most the budget's share of the clock;
- for a domain that has just kept somebody waiting in vain, nobody waits; its lookups go on, and their answers serve the
  devices' next try.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass

from dane_radius.answers import Answer, Unavailable
from dane_radius.cache import AnswerCache
from dane_radius.names import identity_domain, is_within

Clock = Callable[[], float]

# How long a domain that did not answer in time is not waited for, unless an answer of it arrives before. Seconds.
SLOW_DOMAIN_SECONDS = 5.0
_MAX_SLOW_DOMAINS = 10_000


class WaitBudget:
    """Time that the authentication path may spend waiting: `burst` seconds, refilled at `share` seconds a second."""

    def __init__(self, share: float = 0.2, burst: float = 1.5, clock: Clock = time.monotonic) -> None:
        self._share = share
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._at = clock()
        self._lock = threading.Lock()

    def take(self, wanted: float) -> float:
        """At most `wanted` seconds, of what is left. What was not used goes back with `give_back`."""
        with self._lock:
            self._refill()
            taken = max(0.0, min(wanted, self._left))
            self._left -= taken
            return taken

    def give_back(self, seconds: float) -> None:
        """Return time that was taken and not spent."""
        with self._lock:
            self._refill()
            self._left = min(self._burst, self._left + max(0.0, seconds))

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._share)
        self._at = now


@dataclass(slots=True)
class LookupCounts:
    """Since the start; for metrics. `waited` is in seconds."""

    prefetched: int = 0
    waited: float = 0.0
    timed_out: int = 0


class Lookups:
    """The cache, with lookups that run beside the authentication path. Thread-safe."""

    def __init__(
        self,
        cache: AnswerCache,
        budget: WaitBudget,
        *,
        workers: int,
        patience: float,
        clock: Clock = time.monotonic,
    ) -> None:
        """`workers`: lookups under way at once. `patience`: the longest that one decision may wait, in seconds."""
        self._cache = cache
        self._budget = budget
        self._workers = workers
        self._patience = patience
        self._clock = clock
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="tlsa-lookup")
        self._lock = threading.Lock()
        self._flights: dict[str, Future[Answer]] = {}
        self._tickets: dict[str, object] = {}
        self._slow: dict[str, float] = {}
        self.counts = LookupCounts()

    def prefetch(self, name: str) -> None:
        """Start the lookup of a normalized name, unless the cache has its answer. Returns at once."""
        if self._cache.cached(name) is None and self._start(name) is not None:
            self.counts.prefetched += 1

    def lookup(self, name: str) -> tuple[Answer, bool]:
        """The answer, and whether it was cached. Waits as far as patience, budget and the domain's record allow."""
        answer = self._cache.cached(name)
        if answer is not None:
            return answer, True
        flight = self._start(name)
        if flight is None:
            return self._instead(name, f"{self._workers} lookups are under way already", overloaded=True), False
        if not flight.done():
            self._wait(flight, identity_domain(name))
        if flight.done() and flight.exception() is None:
            return flight.result(), False
        return self._instead(name, "no answer in time; the lookup goes on for the device's next try"), False

    def _instead(self, name: str, why: str, *, overloaded: bool = False) -> Answer:
        """What to answer without an answer: a stale one if that is allowed, else why there is none."""
        return self._cache.stale(name) or Unavailable(why, overloaded=overloaded)

    def _wait(self, flight: Future[Answer], domain: str) -> None:
        began = self._clock()
        if began < self._slow.get(domain, 0.0):
            return
        granted = self._budget.take(self._patience)
        wait_for([flight], timeout=granted)
        spent = self._clock() - began
        self._budget.give_back(granted - spent)
        self.counts.waited += spent
        if not flight.done():
            self.counts.timed_out += 1
            self._mark(domain, slow=True)

    def _mark(self, domain: str, *, slow: bool) -> None:
        with self._lock:
            if not slow:
                self._slow.pop(domain, None)
                return
            if len(self._slow) >= _MAX_SLOW_DOMAINS:
                self._slow.clear()
            self._slow[domain] = self._clock() + SLOW_DOMAIN_SECONDS

    def _start(self, name: str) -> Future[Answer] | None:
        """The lookup under way for `name`, started if there is none; None when too many others are."""
        with self._lock:
            flight = self._flights.get(name)
            if flight is None and len(self._flights) < self._workers:
                ticket = self._tickets[name] = object()
                flight = self._flights[name] = self._pool.submit(self._run, name, ticket)
            return flight

    def _run(self, name: str, ticket: object) -> Answer:
        try:
            answer, _ = self._cache.lookup(name)
        finally:
            with self._lock:
                # Only its own: after a flush there may be a younger one.
                if self._tickets.get(name) is ticket:
                    del self._flights[name], self._tickets[name]
        if not (isinstance(answer, Unavailable) and answer.overloaded):
            self._mark(identity_domain(name), slow=isinstance(answer, Unavailable))
        return answer

    def flush(self, name: str | None = None, *, below: bool = False) -> int:
        """As `AnswerCache.flush`; lookups that are under way are not shared with devices that come later, either."""
        gone = self._cache.flush(name, below=below)
        with self._lock:
            for flying in list(self._flights):
                if name is None or flying == name or (below and is_within(flying, name)):
                    del self._flights[flying], self._tickets[flying]
        return gone

    def stop(self) -> None:
        """Let the lookups under way end, and start no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

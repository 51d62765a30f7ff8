"""The lookup engine: one event loop in a thread of its own asks the DNS for everybody.

FreeRADIUS's threads call `find` for what is known, and `start_lookup` for what is not: neither waits. One lookup serves
all who ask for a name (single flight); whoever needs its answer is woken when it is there. A refresh ahead of expiry is
a lookup like the others, at a bounded rate and in turns between domains.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from dane_radius.core.answers import Answer, Unavailable
from dane_radius.core.names import identity_domain, is_within
from dane_radius.dns.cache import AnswerCache, CacheLimits
from dane_radius.dns.domains import Domain, Domains, WaitLimits
from dane_radius.dns.resolver import Client, Resolver
from dane_radius.dns.warm import WarmNames

# Lookups under way in all. One takes about 3 KiB, and Unbound works on some thousand at a time.
MAX_LOOKUPS = 4096
# Lookups that an identity alone may have under way: anybody can claim one.
MAX_UNPROVEN_LOOKUPS = 2048
# Refreshes under way at once, and names that wait for their turn.
_REFRESHES_AT_ONCE = 64
_MAX_REFRESHES_QUEUED = 10_000
_MAX_EXPECTED = 100_000
_HOUSEKEEPING_SECONDS = 0.5
# How often a lookup is asked because its name was flushed meanwhile.
_MAX_ASKED = 8
# An answer that lasts so much longer than the next housekeeping needs no early refresh. Seconds.
_LASTS_SECONDS = 5.0


class Cause(StrEnum):
    """Why a lookup is started."""

    DECISION = "decision"
    CERTIFICATE = "certificate"
    IDENTITY = "identity"
    REFRESH = "refresh"
    SESSION_END = "session_end"
    DOMAIN = "domain"


# Lookups that nobody waits for: a bounded number at once, in turns between domains.
_IN_TURNS = frozenset({Cause.REFRESH, Cause.SESSION_END, Cause.DOMAIN})


@dataclass(eq=False, slots=True)
class Lookup:
    """A lookup under way or done. `answer` is set once, and then every callable in `to_wake` is called.

    `waiting`: how many requests wait for it, of those that its domain counts.
    """

    name: str
    domain: Domain
    cause: Cause
    answer: Answer | None = None
    to_wake: list[Callable[[], None]] = field(default_factory=list)
    waiting: int = 0
    # The name was flushed meanwhile: what comes may have been said before the change, so the DNS is asked again.
    asked_too_early: bool = False
    asked: int = 0


@dataclass(slots=True)
class LookupCounts:
    """Since the start; for metrics."""

    hits: int = 0
    stale: int = 0
    shared: int = 0
    overloaded: int = 0
    started: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(Cause, 0))
    # Refreshes that found no place: the entry expires, and the next device asks.
    refreshes_dropped: int = 0


class Lookups:
    """The cache and the engine behind it. Thread-safe; only `run`, `start` and `stop` wait."""

    def __init__(
        self,
        resolver: Resolver,
        cache: CacheLimits | None = None,
        waits: WaitLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        warm: int = 0,
    ) -> None:
        """`warm`: names above devices that are kept in the resolver's cache. No thread runs until `start`."""
        self._resolver = resolver
        self._clock = clock
        # Guards everything below. Held for moments only, and never across a system call: that would give up the GIL,
        # and let another thread run into the lock.
        self.lock = threading.Lock()
        self.cache = AnswerCache(cache, self._refresh_soon)
        self.wait_limits = waits or WaitLimits()
        self.domains = Domains(self.wait_limits)
        self.counts = LookupCounts()
        self._under_way: dict[str, Lookup] = {}
        self._unproven = 0
        # Started, and not asked yet: that is done without the lock.
        self._fresh: deque[Lookup] = deque()
        self._refreshing = 0
        # In turns between domains: the first domain's first name is next.
        self._refresh_queue: OrderedDict[str, OrderedDict[str, Cause]] = OrderedDict()
        self._refreshes_queued = 0
        self._warm = WarmNames(warm)
        self._expected: list[tuple[float, str]] = []
        self._expected_at: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ending: asyncio.Event
        self._client: Client | None = None
        self._start_error: OSError | None = None

    # --- for the server's threads ------------------------------------------------------------------------------------

    def find(self, name: str) -> Answer | None:
        """The answer held for a normalized name, its `ttl` being what is left of it; None when there is none."""
        with self.lock:
            answer = self.cache.get(name, self._clock())
            if answer is not None:
                self.counts.hits += 1
        self._ask_fresh()
        return answer

    def holds(self, name: str) -> bool:
        """Whether the DNS need not be asked about `name` now. Is no use of the answer."""
        with self.lock:
            return self.cache.left(name, self._clock()) > 0

    def start_lookup(self, name: str, cause: Cause) -> Lookup | Answer:
        """The lookup of `name`, started unless it is under way; or an answer, where the DNS is not asked."""
        with self.lock:
            now = self._clock()
            found = self.cache.get(name, now) or self._start(name, cause, now)
        self._ask_fresh()
        return found

    def instead(self, name: str, why: str, *, overloaded: bool = False) -> Answer:
        """What to go by without an answer: a stale one if that is allowed, else why there is none."""
        with self.lock:
            return self._instead(name, why, overloaded=overloaded)

    def _instead(self, name: str, why: str, *, overloaded: bool = False) -> Answer:
        stale = self.cache.stale(name, self._clock())
        if stale is not None:
            self.counts.stale += 1
            return stale
        if overloaded:
            self.counts.overloaded += 1
        return Unavailable(why, overloaded=overloaded)

    def _start(self, name: str, cause: Cause, now: float) -> Lookup | Answer:
        """Called under the lock; the question is sent by the `_ask_fresh` that follows."""
        lookup = self._under_way.get(name)
        if lookup is not None:
            self.counts.shared += 1
            return lookup
        if self._client is None:
            return self._instead(name, "lookups are not running")
        domain = self.domains.of(identity_domain(f"x.{name}" if cause is Cause.DOMAIN else name))
        if len(self._under_way) >= MAX_LOOKUPS or (cause is Cause.IDENTITY and self._unproven >= MAX_UNPROVEN_LOOKUPS):
            return self._instead(name, f"{len(self._under_way)} lookups are under way, as many as may", overloaded=True)
        if not self.domains.may_start(domain, now):
            return self._instead(name, f"{domain.name} does not answer; {len(domain.under_way)} lookups are under way")
        lookup = Lookup(name, domain, cause)
        self._under_way[name] = lookup
        self.domains.started(domain, lookup, now)
        self.counts.started[cause] += 1
        self._unproven += cause is Cause.IDENTITY
        self._fresh.append(lookup)
        return lookup

    def _ask_fresh(self) -> None:
        """Send the questions of lookups that were just started. Not under the lock."""
        while self._fresh:
            try:
                lookup = self._fresh.popleft()
            except IndexError:
                # Another thread was quicker.
                return
            self._ask(lookup)

    def _ask(self, lookup: Lookup) -> None:
        client = self._client
        try:
            if client is None:
                self._answered(lookup, Unavailable("the lookup was ended"))
            else:
                client.ask(lookup.name, partial(self._answered, lookup))
        except Exception as error:
            # A client promises not to raise. If one does, nobody may be let in, or be left waiting.
            self._answered(lookup, Unavailable(f"the lookup failed: {type(error).__name__}: {error}"))

    def expect(self, name: str, after: float) -> None:
        """A device of this name is expected back in `after` seconds: have the answer by then."""
        with self.lock:
            if len(self._expected) >= _MAX_EXPECTED:
                return
            at = self._clock() + after
            self._expected_at[name] = at
            heapq.heappush(self._expected, (at, name))

    def keep_warm(self, names: Iterable[str]) -> None:
        """Keep the resolver ready for devices below `names`, in place of those that were given before."""
        with self.lock:
            self._warm.keep(names, self._clock())

    def let_in(self, name: str) -> None:
        """A device of this name was let in: keep the resolver ready for its neighbours."""
        with self.lock:
            self._warm.used(name.partition(".")[2], self._clock())

    def submit(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run something short in the engine's event loop. Returns whether it is running; it must not raise."""
        loop = self._loop
        if loop is None:
            work.close()
            return False
        asyncio.run_coroutine_threadsafe(work, loop)
        return True

    def run(self, work: Coroutine[Any, Any, None], seconds: float = 5.0) -> None:
        """As `submit`, and wait for it. For start and stop alone. Raises what `work` raises; TimeoutError."""
        loop = self._loop
        if loop is None:
            work.close()
            return
        asyncio.run_coroutine_threadsafe(work, loop).result(seconds)

    def flush(self, name: str | None = None, *, below: bool = False) -> int:
        """Forget `name` (`below`: and every name under it), or everything; returns how many answers went.

        A lookup that is under way is asked again, for those who wait for it, too: it may have been answered before the
        change that the flush is for.
        """
        with self.lock:
            for lookup in self._under_way.values():
                if name is None or lookup.name == name or (below and is_within(lookup.name, name)):
                    lookup.asked_too_early = True
            return self.cache.flush(name, below=below)

    @property
    def under_way(self) -> int:
        """Lookups under way."""
        return len(self._under_way)

    def count_slow_domains(self) -> int:
        """How many domains leave their lookups unanswered."""
        with self.lock:
            return len(self.domains.slow(self._clock()))

    def slow_domains(self, at_most: int = 20) -> list[dict[str, object]]:
        """The domains that leave their lookups unanswered, with how many lookups and requests wait for each."""
        with self.lock:
            slow = self.domains.slow(self._clock())
        slow.sort(key=lambda domain: -domain.waiting)
        return [
            {"domain": domain.name, "lookups": len(domain.under_way), "waiting": domain.waiting}
            for domain in slow[:at_most]
        ]

    # --- refresh ahead, in turns between domains ---------------------------------------------------------------------

    def _refresh_soon(self, name: str, cause: Cause = Cause.REFRESH) -> None:
        """Called under the lock."""
        domain = identity_domain(name)
        if self._client is None or self._refreshes_queued >= _MAX_REFRESHES_QUEUED:
            self.counts.refreshes_dropped += 1
            return
        names = self._refresh_queue.setdefault(domain, OrderedDict())
        if name not in names:
            names[name] = cause
            self._refreshes_queued += 1
        if self._refreshing < _REFRESHES_AT_ONCE:
            self._start_refreshes(self._clock())

    def _start_refreshes(self, now: float) -> None:
        """Called under the lock."""
        while self._refresh_queue and self._refreshing < _REFRESHES_AT_ONCE:
            domain, names = self._refresh_queue.popitem(last=False)
            name, cause = names.popitem(last=False)
            self._refreshes_queued -= 1
            if names:
                self._refresh_queue[domain] = names
            if name in self._under_way:
                continue
            started = self._start(name, cause, now)
            if isinstance(started, Lookup):
                self._refreshing += 1
            else:
                self.counts.refreshes_dropped += 1

    # --- the engine's own thread -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread. Raises OSError."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="dns-lookups", daemon=True)
        self._thread.start()
        ready.wait()
        if self._start_error is not None:
            raise self._start_error

    def stop(self) -> None:
        """End the thread. Lookups under way end as unavailable."""
        with self.lock:
            loop, self._loop, self._client = self._loop, None, None
        if loop is None or self._thread is None:
            return
        loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(timeout=10)

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._serve(ready))
        finally:
            # Whatever became of it, nobody waits for the start of a thread that is over.
            ready.set()
            loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        client = self._resolver.open()
        self._ending = asyncio.Event()
        try:
            client.start()
        except OSError as error:
            self._start_error = error
            await client.close()
            return
        with self.lock:
            self._loop, self._client = asyncio.get_running_loop(), client
        self._keep_house()
        ready.set()
        await self._ending.wait()
        await client.close()

    def _answered(self, lookup: Lookup, answer: Answer) -> None:
        """In the event loop, mostly. Not under the lock."""
        again = False
        to_wake: list[Callable[[], None]] = []
        with self.lock:
            lookup.asked += 1
            if lookup.asked_too_early:
                # The answer may have been given before the change that the flush was for.
                lookup.asked_too_early = False
                again = lookup.asked < _MAX_ASKED
                answer = Unavailable(f"{lookup.name} was flushed {lookup.asked} times while it was looked up")
            if not again:
                self._end_lookup(lookup, answer)
                to_wake += lookup.to_wake
        if again:
            self._ask(lookup)
        for wake in to_wake:
            wake()
        self._ask_fresh()

    def _end_lookup(self, lookup: Lookup, answer: Answer) -> None:
        """Called under the lock."""
        now = self._clock()
        lookup.answer = answer
        del self._under_way[lookup.name]
        self._unproven -= lookup.cause is Cause.IDENTITY
        self.domains.ended(lookup.domain, lookup, now, answered=not isinstance(answer, Unavailable))
        for _ in range(lookup.waiting):
            self.domains.left(lookup.domain)
        lookup.waiting = 0
        self.cache.keep(lookup.name, answer, now)
        if lookup.cause in _IN_TURNS:
            self._refreshing -= 1
            self._start_refreshes(now)

    def _keep_house(self) -> None:
        loop = asyncio.get_running_loop()
        with self.lock:
            if self._client is None:
                return
            now = self._clock()
            self._start_expected(now)
            for name in self._warm.due(now):
                self._refresh_soon(name, Cause.DOMAIN)
            self.cache.sweep(now)
        self._ask_fresh()
        loop.call_later(_HOUSEKEEPING_SECONDS, self._keep_house)

    def _start_expected(self, now: float) -> None:
        """Called under the lock."""
        while self._expected and self._expected[0][0] <= now:
            at, name = heapq.heappop(self._expected)
            # An entry that a later one for the same name has replaced is passed over.
            if self._expected_at.get(name) == at:
                del self._expected_at[name]
                if self.cache.left(name, now) < _LASTS_SECONDS:
                    self._refresh_soon(name, Cause.SESSION_END)

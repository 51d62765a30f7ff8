"""The lookup engine: an event loop, in a thread of its own, that asks the DNS for all other threads.

FreeRADIUS's threads call `find` for cached answers and `start_lookup` for others; neither call waits. All requests for
one name share one lookup (single flight), which notifies each of them when it ends. Background lookups (refreshes ahead
of expiry, for example) run like the others, a limited number at a time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dane_radius.core.answers import Answer, Unavailable
from dane_radius.core.names import identity_domain, is_within
from dane_radius.dns.background import BACKGROUND, BackgroundQueue, Cause, SessionEnds
from dane_radius.dns.cache import AnswerCache, CacheLimits
from dane_radius.dns.domains import Domain, Domains, WaitLimits
from dane_radius.dns.parent_names import ParentNames
from dane_radius.dns.resolver import Client, Resolver

# Lookups under way in all. One takes about 3 KiB, and Unbound works on some thousand at a time.
MAX_LOOKUPS = 4096
# Lookups under way that only an EAP identity has caused: an identity is unauthenticated.
MAX_IDENTITY_LOOKUPS = 2048
_MAX_BACKGROUND_LOOKUPS = 64
_HOUSEKEEPING_SECONDS = 0.5
# How often a lookup is sent in all, if its name is flushed each time before the answer arrives.
_MAX_ATTEMPTS = 8
# An answer with this much TTL left when a session ends is not looked up again before. Seconds.
_SUFFICIENT_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class Lookup:
    """A lookup under way or done. `answer` is set once; then each callable in `on_answer` is called.

    `waiting`: how many requests wait for it and are counted for its domain.
    """

    name: str
    domain: Domain
    cause: Cause
    answer: Answer | None = None
    on_answer: list[Callable[[], None]] = field(default_factory=list)
    waiting: int = 0
    # Whether the name was flushed after the question was sent. The answer may be older than the change that the flush
    # is for, so the question is sent again.
    flushed: bool = False
    attempts: int = 0


@dataclass(slots=True)
class LookupCounts:
    """Counters since the start, for metrics."""

    hits: int = 0
    stale: int = 0
    shared: int = 0
    overloaded: int = 0
    started: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(Cause, 0))
    # Background lookups that were not started because of a limit. The entry expires, and the next device waits.
    refreshes_dropped: int = 0


class Lookups:
    """The answer cache and the engine behind it. Thread-safe. Only `run`, `start` and `stop` block."""

    def __init__(
        self,
        resolver: Resolver,
        cache: CacheLimits | None = None,
        waits: WaitLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_parent_names: int = 0,
    ) -> None:
        """`max_parent_names`: how many names above devices are looked up regularly. No thread runs until `start`."""
        self._resolver = resolver
        self._clock = clock
        # Guards everything below. It is held briefly, and never across a system call: that would release the GIL, and
        # other threads would block on the lock.
        self.lock = threading.Lock()
        self.cache = AnswerCache(cache, self._refresh)
        self.wait_limits = waits or WaitLimits()
        self.domains = Domains(self.wait_limits)
        self.counts = LookupCounts()
        self._under_way: dict[str, Lookup] = {}
        self._identity_lookups = 0
        # Started, but not sent yet: questions are sent without the lock.
        self._unsent: deque[Lookup] = deque()
        self._background_lookups = 0
        self._background_queue = BackgroundQueue()
        self._parent_names = ParentNames(max_parent_names)
        self._session_ends = SessionEnds()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event
        self._client: Client | None = None
        self._start_error: OSError | None = None

    # --- for the server's threads ------------------------------------------------------------------------------------

    def find(self, name: str) -> Answer | None:
        """The cached answer for a normalized name, with its remaining TTL; None if there is none."""
        with self.lock:
            answer = self.cache.get(name, self._clock())
            if answer is not None:
                self.counts.hits += 1
        self._send_unsent()
        return answer

    def is_cached(self, name: str) -> bool:
        """Whether an answer for `name` is cached. Does not count as a use of the answer."""
        with self.lock:
            return self.cache.remaining(name, self._clock()) > 0

    def start_lookup(self, name: str, cause: Cause) -> Lookup | Answer:
        """The lookup of `name`, started unless it is under way. An answer if it is cached or a limit is reached."""
        with self.lock:
            now = self._clock()
            found = self.cache.get(name, now) or self._start(name, cause, now)
        self._send_unsent()
        return found

    def without_answer(self, name: str, why: str, *, overloaded: bool = False) -> Answer:
        """What a decision uses when no answer has arrived: a stale answer if allowed, else `Unavailable`."""
        with self.lock:
            return self._without_answer(name, why, overloaded=overloaded)

    def _without_answer(self, name: str, why: str, *, overloaded: bool = False) -> Answer:
        stale = self.cache.stale(name, self._clock())
        if stale is not None:
            self.counts.stale += 1
            return stale
        if overloaded:
            self.counts.overloaded += 1
        return Unavailable(why, overloaded=overloaded)

    def _start(self, name: str, cause: Cause, now: float) -> Lookup | Answer:
        """Called under the lock. The next `_send_unsent` sends the question."""
        lookup = self._under_way.get(name)
        if lookup is not None:
            self.counts.shared += 1
            return lookup
        if self._client is None:
            return self._without_answer(name, "lookups are not running")
        domain = self.domains.get(identity_domain(f"x.{name}" if cause is Cause.DOMAIN else name))
        count = len(self._under_way)
        if count >= MAX_LOOKUPS or (cause is Cause.IDENTITY and self._identity_lookups >= MAX_IDENTITY_LOOKUPS):
            return self._without_answer(name, f"{count} lookups are under way, as many as may", overloaded=True)
        if not self.domains.may_look_up(domain, now):
            why = f"{domain.name} does not answer; {len(domain.under_way)} lookups are under way"
            return self._without_answer(name, why)
        lookup = Lookup(name, domain, cause)
        self._under_way[name] = lookup
        self.domains.lookup_started(domain, lookup, now)
        self.counts.started[cause] += 1
        self._identity_lookups += cause is Cause.IDENTITY
        self._unsent.append(lookup)
        return lookup

    def _send_unsent(self) -> None:
        """Send the questions of lookups that were started. Not called under the lock."""
        while self._unsent:
            try:
                lookup = self._unsent.popleft()
            except IndexError:
                # Another thread has taken the last one.
                return
            self._send(lookup)

    def _send(self, lookup: Lookup) -> None:
        client = self._client
        try:
            if client is None:
                self._answered(lookup, Unavailable("the lookup was ended"))
            else:
                client.ask(lookup.name, partial(self._answered, lookup))
        except Exception as error:
            # A client must not raise. If one does, its lookup still ends, and without an answer.
            self._answered(lookup, Unavailable(f"the lookup failed: {type(error).__name__}: {error}"))

    def note_session_end(self, name: str, after: float) -> None:
        """Look `name` up in `after` seconds, before its device authenticates again."""
        with self.lock:
            self._session_ends.add(name, self._clock() + after)

    def set_policy_names(self, names: Iterable[str]) -> None:
        """Look `names`, which policy grants access below, up regularly, in place of those of the previous policy."""
        with self.lock:
            self._parent_names.set_policy_names(names, self._clock())

    def device_admitted(self, name: str) -> None:
        """Look the parent name of an admitted device up regularly, for the other devices below it."""
        with self.lock:
            self._parent_names.device_admitted(name.partition(".")[2], self._clock())

    def submit(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run a short coroutine in the engine's event loop; it must not raise. Returns False if no loop is running."""
        loop = self._loop
        if loop is None:
            work.close()
            return False
        asyncio.run_coroutine_threadsafe(work, loop)
        return True

    def run(self, work: Coroutine[Any, Any, None], seconds: float = 5.0) -> None:
        """As `submit`, but wait for the end; for start and stop only. Raises what `work` raises, or TimeoutError."""
        loop = self._loop
        if loop is None:
            work.close()
            return
        asyncio.run_coroutine_threadsafe(work, loop).result(seconds)

    def flush(self, name: str | None = None, *, below: bool = False) -> int:
        """Remove `name` (`below`: and every name under it), or all answers; returns the number removed.

        Lookups of these names that are under way are sent again, also for the requests that wait for them: their answer
        may be older than the change that the flush is for.
        """
        with self.lock:
            for lookup in self._under_way.values():
                if name is None or lookup.name == name or (below and is_within(lookup.name, name)):
                    lookup.flushed = True
            return self.cache.flush(name, below=below)

    @property
    def under_way(self) -> int:
        """The number of lookups under way."""
        return len(self._under_way)

    def count_slow_domains(self) -> int:
        """The number of domains that leave their lookups unanswered."""
        with self.lock:
            return len(self.domains.slow(self._clock()))

    def slow_domains(self, at_most: int = 20) -> list[dict[str, object]]:
        """The domains that leave their lookups unanswered, each with its lookups under way and its waiting requests."""
        with self.lock:
            slow = self.domains.slow(self._clock())
        slow.sort(key=lambda domain: -domain.waiting)
        return [
            {"domain": domain.name, "lookups": len(domain.under_way), "waiting": domain.waiting}
            for domain in slow[:at_most]
        ]

    # --- background lookups, all called under the lock ---------------------------------------------------------------

    def _refresh(self, name: str, cause: Cause = Cause.REFRESH) -> None:
        if self._client is None or not self._background_queue.put(name, cause):
            self.counts.refreshes_dropped += 1
            return
        self._start_background(self._clock())

    def _start_background(self, now: float) -> None:
        while self._background_queue and self._background_lookups < _MAX_BACKGROUND_LOOKUPS:
            name, cause = self._background_queue.take()
            if name in self._under_way:
                continue
            started = self._start(name, cause, now)
            if isinstance(started, Lookup):
                self._background_lookups += 1
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
        loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=10)

    def _run(self, ready: threading.Event) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._serve(ready))
        finally:
            # `start` must return even if the thread has failed.
            ready.set()
            loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        client = self._resolver.open()
        self._stopping = asyncio.Event()
        try:
            client.start()
        except OSError as error:
            self._start_error = error
            await client.close()
            return
        with self.lock:
            self._loop, self._client = asyncio.get_running_loop(), client
        self._housekeep()
        ready.set()
        await self._stopping.wait()
        await client.close()

    def _answered(self, lookup: Lookup, answer: Answer) -> None:
        """Usually called in the event loop. Not called under the lock."""
        send_again = False
        on_answer: list[Callable[[], None]] = []
        with self.lock:
            lookup.attempts += 1
            if lookup.flushed:
                lookup.flushed = False
                send_again = lookup.attempts < _MAX_ATTEMPTS
                answer = Unavailable(f"{lookup.name} was flushed {lookup.attempts} times while it was looked up")
            if not send_again:
                self._end_lookup(lookup, answer)
                on_answer += lookup.on_answer
        if send_again:
            self._send(lookup)
        for notify in on_answer:
            notify()
        self._send_unsent()

    def _end_lookup(self, lookup: Lookup, answer: Answer) -> None:
        """Called under the lock."""
        now = self._clock()
        lookup.answer = answer
        del self._under_way[lookup.name]
        self._identity_lookups -= lookup.cause is Cause.IDENTITY
        self.domains.lookup_ended(lookup.domain, lookup, now, answered=not isinstance(answer, Unavailable))
        for _ in range(lookup.waiting):
            self.domains.wait_ended(lookup.domain)
        lookup.waiting = 0
        self.cache.store(lookup.name, answer, now)
        if lookup.cause in BACKGROUND:
            self._background_lookups -= 1
            self._start_background(now)

    def _housekeep(self) -> None:
        with self.lock:
            if self._client is None:
                return
            # Scheduled before the work: an exception must not end the housekeeping.
            asyncio.get_running_loop().call_later(_HOUSEKEEPING_SECONDS, self._housekeep)
            now = self._clock()
            for name in self._session_ends.take_due(now):
                if self.cache.remaining(name, now) < _SUFFICIENT_SECONDS:
                    self._refresh(name, Cause.SESSION_END)
            for name in self._parent_names.take_due(now):
                self._refresh(name, Cause.DOMAIN)
            self.cache.sweep(now)
        self._send_unsent()

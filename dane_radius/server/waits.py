"""Requests that wait outside FreeRADIUS's Python lock.

FreeRADIUS 3 runs one call of rlm_python3 at a time, so a call that waited would delay every other device. A call that
needs an answer that has not arrived returns "not yet" instead. The server then waits in a thread-safe module
(`mods-available/dane_wait`: one select(2) in Perl) on an eventfd of this process, and calls again.

The server gets a wait as text: `<eventfd> <milliseconds> <token>`. The eventfd is signalled when the answer arrives.
The signal decides nothing: the second call reads the answer itself, whatever ended the wait.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import resource
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dane_radius.core.answers import Answer
from dane_radius.dns.background import Cause
from dane_radius.dns.domains import Domain, WaitLimit
from dane_radius.dns.lookups import Lookup, Lookups
from dane_radius.server.hint import HintResult

# A wait lasts so much longer than the deadline of what it waits for, which normally ends it.
_SLACK_SECONDS = 0.25
# How long after its end a wait is abandoned. If FreeRADIUS has not called by then, it has dropped the request.
_ABANDONED_SECONDS = 5.0
# FreeRADIUS 3 watches its sockets with select(2), which cannot handle descriptors above 1,023. Those are left to it.
_FIRST_EVENT = 1024
# Descriptors that stay open when no request waits.
_SPARE_EVENTS = 4

_Subject = TypeVar("_Subject")


@dataclass(slots=True)
class WaitCounts:
    """Counters since the start, for metrics. `seconds`: the total time that requests have waited."""

    answered: int = 0
    timed_out: int = 0
    cut_short: int = 0
    abandoned: int = 0
    refused: dict[WaitLimit, int] = field(default_factory=lambda: dict.fromkeys(WaitLimit, 0))
    seconds: float = 0.0


@dataclass(eq=False, slots=True)
class HintUnderWay:
    """A hint that trust-sync is processing. Its fields have the meaning that they have in `Lookup`."""

    domain: Domain
    answer: HintResult | None = None
    on_answer: list[Callable[[], None]] = field(default_factory=list)
    waiting: int = 0


@dataclass(eq=False, slots=True)
class Wait(Generic[_Subject]):
    """One request that waits. `subject`: what its second call needs. `text`: what FreeRADIUS gets."""

    subject: _Subject
    awaited: Lookup | HintUnderWay
    event: int
    token: int
    began: float
    ends: float

    def signal(self) -> None:
        """Signal that the answer has arrived. Called at most once."""
        os.eventfd_write(self.event, 1)

    @property
    def text(self) -> str:
        return f"{self.event} {round((self.ends - self.began) * 1000)} {self.token}"


class Waits(Generic[_Subject]):
    """The requests that wait now. Thread-safe."""

    def __init__(self, lookups: Lookups, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`timeout`: the longest time that a request waits for the DNS, in seconds."""
        self._lookups, self._timeout, self._clock = lookups, timeout, clock
        # Guards `_waits`. The engine's lock, which may be held when this one is taken, guards the lists of descriptors.
        self._lock = threading.Lock()
        self._waits: dict[int, Wait[_Subject]] = {}
        # Descriptors that no wait uses.
        self._free: list[int] = []
        # Descriptors that no wait uses, but that a late signal may still reach. Their second sweep frees them.
        self._draining: list[int] = []
        # Those among them that one sweep has seen.
        self._drained: list[int] = []
        self._tokens = itertools.count(1)
        self.counts = WaitCounts()

    def __len__(self) -> int:
        return len(self._waits)

    def start_wait(self, name: str, subject: _Subject) -> Wait[_Subject] | Answer:
        """A wait for the TLSA records of a normalized name. An answer if it is there, or a limit rules out a wait."""
        lookup = self._lookups.start_lookup(name, Cause.DECISION)
        if not isinstance(lookup, Lookup):
            return lookup
        started = self._start(lookup, subject, self._timeout, self._limit_reached)
        if isinstance(started, Wait):
            return started
        if lookup.answer is not None:
            return lookup.answer
        limit, why = started
        self.counts.refused[limit] += 1
        return self._lookups.without_answer(name, why, overloaded=True)

    def start_early_wait(self, lookup: Lookup, subject: _Subject) -> Wait[_Subject] | None:
        """A wait for a lookup whose answer the request needs with its next packet.

        None if the answer is there, or a limit rules out a wait. The wait occupies no thread until that packet, but it
        counts like the others while the lookup is under way.
        """
        started = self._start(lookup, subject, self._timeout, self._limit_reached)
        return started if isinstance(started, Wait) else None

    def start_hint_wait(
        self, hint: HintUnderWay, subject: _Subject, seconds: float, max_waiting: int
    ) -> Wait[_Subject] | None:
        """A wait of at most `seconds` for a hint. None if its result is there, or if `max_waiting` requests wait."""

        def limit_reached(domain: Domain) -> tuple[WaitLimit, str] | None:
            return (WaitLimit.TOTAL, "as many wait for hints as may") if domain.waiting >= max_waiting else None

        started = self._start(hint, subject, seconds, limit_reached)
        return started if isinstance(started, Wait) else None

    def _limit_reached(self, domain: Domain) -> tuple[WaitLimit, str] | None:
        return self._lookups.domains.limit_reached(domain, self._clock())

    def _start(
        self,
        awaited: Lookup | HintUnderWay,
        subject: _Subject,
        seconds: float,
        limit_reached: Callable[[Domain], tuple[WaitLimit, str] | None],
    ) -> Wait[_Subject] | tuple[WaitLimit, str]:
        """A wait, or the limit that rules it out. The limit means nothing if the answer is already there."""
        try:
            event = self._take_event()
        except OSError as error:
            return WaitLimit.DESCRIPTORS, f"no descriptor for a wait: {error.strerror}"
        now = self._clock()
        wait = Wait(subject, awaited, event, next(self._tokens), now, now + seconds + _SLACK_SECONDS)
        with self._lookups.lock:
            answered = awaited.answer is not None
            limit = (WaitLimit.TOTAL, "answered") if answered else limit_reached(awaited.domain)
            if limit is not None:
                self._free.append(event)
                return limit
            awaited.on_answer.append(wait.signal)
            awaited.waiting += 1
            self._lookups.domains.wait_started(awaited.domain)
            with self._lock:
                self._waits[wait.token] = wait
            return wait

    def _take_event(self) -> int:
        """A descriptor that no wait uses. Raises OSError."""
        # Under the lock: `_put_away` closes free descriptors, and must not close this one.
        with self._lookups.lock:
            if self._free:
                return self._free.pop()
        return _new_event()

    def complete_hint(self, hint: HintUnderWay, result: HintResult) -> None:
        """Record the result of a hint, and signal the requests that wait for it."""
        with self._lookups.lock:
            hint.answer = result
            for _ in range(hint.waiting):
                self._lookups.domains.wait_ended(hint.domain)
            hint.waiting = 0
        for signal in hint.on_answer:
            signal()

    def end_wait(self, text: str) -> Wait[_Subject] | None:
        """End the wait that FreeRADIUS got as `text`. None if there is no such wait, or no longer."""
        try:
            token = int(text.rpartition(" ")[2])
        except ValueError:
            return None
        with self._lock:
            wait = self._waits.pop(token, None)
        if wait is not None:
            self._release(wait)
        return wait

    def answer(self, wait: Wait[_Subject]) -> Answer:
        """The DNS answer after a wait for a lookup has ended. Counts how the wait ended."""
        lookup = wait.awaited
        assert isinstance(lookup, Lookup)
        now = self._clock()
        self.counts.seconds += now - wait.began
        if lookup.answer is not None:
            self.counts.answered += 1
            return lookup.answer
        if now < wait.ends - _SLACK_SECONDS:
            self.counts.cut_short += 1
            why = "the wait for the answer was cut short; is mods-enabled/dane_wait in order?"
        else:
            self.counts.timed_out += 1
            why = f"no answer within {self._timeout:g} s; the lookup goes on for the device's next try"
        return self._lookups.without_answer(lookup.name, why)

    def _release(self, wait: Wait[_Subject]) -> None:
        awaited = wait.awaited
        signalled = _read(wait.event)
        with self._lookups.lock:
            if awaited.answer is None:
                awaited.on_answer.remove(wait.signal)
                awaited.waiting -= 1
                self._lookups.domains.wait_ended(awaited.domain)
            # If the answer has arrived, but its signal has not, the signal must not reach the descriptor's next wait.
            (self._free if signalled or awaited.answer is None else self._draining).append(wait.event)

    def sweep(self) -> int:
        """End the waits that FreeRADIUS has abandoned, and close spare descriptors; returns the number of waits."""
        now, drained = self._clock(), self._drained
        with self._lookups.lock:
            self._drained = [event for event in self._draining if event not in drained]
        with self._lock:
            abandoned = [wait for wait in self._waits.values() if now > wait.ends + _ABANDONED_SECONDS]
            for wait in abandoned:
                del self._waits[wait.token]
        for wait in abandoned:
            self._release(wait)
        self.counts.abandoned += len(abandoned)
        self._put_away(drained, spare=_SPARE_EVENTS if not self._waits else None)
        return len(abandoned)

    def _put_away(self, drained: list[int], spare: int | None) -> None:
        """Free the drained descriptors, and close all free ones but `spare` (None: close none)."""
        for event in drained:
            _read(event)
        with self._lookups.lock:
            self._draining = [event for event in self._draining if event not in drained]
            self._free += drained
            surplus: list[int] = []
            if spare is not None:
                surplus, self._free = self._free[spare:], self._free[:spare]
        for event in surplus:
            os.close(event)

    def close(self) -> None:
        """Close the descriptors. To be called after the engine has stopped."""
        with self._lookups.lock, self._lock:
            events = self._free + self._draining + [wait.event for wait in self._waits.values()]
            self._free, self._draining, self._waits = [], [], {}
        for event in events:
            os.close(event)


def reserve_descriptors(waits: int) -> int:
    """Raise the process's limit on descriptors, so that `waits` requests can wait; returns how many can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FIRST_EVENT + waits + _SPARE_EVENTS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return waits if soft == resource.RLIM_INFINITY else max(0, min(waits, soft - _FIRST_EVENT))


def _new_event() -> int:
    """An eventfd above the descriptors that are left to FreeRADIUS. Raises OSError."""
    low = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _FIRST_EVENT)
    finally:
        os.close(low)


def _read(event: int) -> bool:
    """Reset an eventfd. Returns whether it was signalled."""
    try:
        os.eventfd_read(event)
    except BlockingIOError:
        return False
    return True

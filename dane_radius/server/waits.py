"""Requests that wait, outside of FreeRADIUS's Python lock.

FreeRADIUS 3 runs one call of rlm_python3 at a time, so a call that waited would keep every other device waiting. A call
whose answer is still on its way says "not yet" instead. The server then waits in a thread-safe module
(`mods-available/dane_wait`: one select(2) in Perl) on an eventfd of this process, and calls again.

A wait is handed to the server as text: `<eventfd> <milliseconds> <token>`. The descriptor is written to when the answer
is there. It decides nothing: the second call looks at the answer, whatever has woken the request.
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
from dane_radius.dns.domains import Domain, Full
from dane_radius.dns.lookups import Cause, Lookup, Lookups
from dane_radius.server.hint import HintResult

# On top of the deadline of what is waited for, which ends the wait before this does.
_SLACK_SECONDS = 0.25
# How long after its time a wait may still be asked about. Later, FreeRADIUS has given the request up.
_ABANDONED_SECONDS = 5.0
# FreeRADIUS 3 watches its sockets with select(2), which ends at descriptor 1,023: these are left to it.
_FIRST_EVENT = 1024
# Descriptors that are kept when nothing waits.
_KEPT_EVENTS = 4

_Subject = TypeVar("_Subject")


@dataclass(slots=True)
class WaitCounts:
    """Since the start; for metrics. `seconds`: how long requests have waited, all together."""

    answered: int = 0
    timed_out: int = 0
    cut_short: int = 0
    abandoned: int = 0
    refused: dict[Full, int] = field(default_factory=lambda: dict.fromkeys(Full, 0))
    seconds: float = 0.0


@dataclass(eq=False, slots=True)
class HintUnderWay:
    """A hint that trust-sync is working on, with what a `Lookup` has, too."""

    domain: Domain
    answer: HintResult | None = None
    to_wake: list[Callable[[], None]] = field(default_factory=list)
    waiting: int = 0


@dataclass(eq=False, slots=True)
class Wait(Generic[_Subject]):
    """One request that waits. `subject`: what its second call needs. `text`: what the server is told."""

    subject: _Subject
    awaited: Lookup | HintUnderWay
    event: int
    token: int
    began: float
    ends: float

    def wake(self) -> None:
        """The answer is there. Called once at most."""
        os.eventfd_write(self.event, 1)

    @property
    def text(self) -> str:
        return f"{self.event} {round((self.ends - self.began) * 1000)} {self.token}"


class Waits(Generic[_Subject]):
    """The requests that wait now. Thread-safe."""

    def __init__(self, lookups: Lookups, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`patience`: the longest that a request may wait for the DNS, in seconds."""
        self._lookups, self._patience, self._clock = lookups, patience, clock
        self._lock = threading.Lock()
        self._waits: dict[int, Wait[_Subject]] = {}
        # Descriptors that no wait uses: kept for the next one while a crowd is there.
        self._free: list[int] = []
        # As well, but somebody may still write to them: free from the next sweep on.
        self._resting: list[int] = []
        self._rested: list[int] = []
        self._tokens = itertools.count(1)
        self.counts = WaitCounts()

    def __len__(self) -> int:
        return len(self._waits)

    def enter(self, name: str, subject: _Subject) -> Wait[_Subject] | Answer:
        """A wait for the TLSA records of a normalized name; or the answer, if it is there, or no wait is possible."""
        lookup = self._lookups.start_lookup(name, Cause.DECISION)
        if not isinstance(lookup, Lookup):
            return lookup
        entered = self._enter(lookup, subject, self._patience, self._against)
        if isinstance(entered, Wait):
            return entered
        if lookup.answer is not None:
            return lookup.answer
        why, text = entered
        self.counts.refused[why] += 1
        return self._lookups.instead(name, text, overloaded=True)

    def enter_early(self, lookup: Lookup, subject: _Subject) -> Wait[_Subject] | None:
        """A wait for a lookup that the request will need with its next packet; None when it need not wait, or must not.

        Until then it occupies no thread, but it is counted like the others: as long as the lookup is under way.
        """
        entered = self._enter(lookup, subject, self._patience, self._against)
        return entered if isinstance(entered, Wait) else None

    def enter_for_hint(
        self, hint: HintUnderWay, subject: _Subject, seconds: float, places: int
    ) -> Wait[_Subject] | None:
        """A wait of at most `seconds` for a hint; None when it is answered, or `places` requests wait for hints."""

        def against(domain: Domain) -> tuple[Full, str] | None:
            return (Full.PLACES, "as many wait for hints as may") if domain.waiting >= places else None

        entered = self._enter(hint, subject, seconds, against)
        return entered if isinstance(entered, Wait) else None

    def _against(self, domain: Domain) -> tuple[Full, str] | None:
        return self._lookups.domains.may_wait(domain, self._clock())

    def _enter(
        self,
        awaited: Lookup | HintUnderWay,
        subject: _Subject,
        seconds: float,
        against: Callable[[Domain], tuple[Full, str] | None],
    ) -> Wait[_Subject] | tuple[Full, str]:
        """A wait, unless something stands against it. One for what is answered already is none either."""
        try:
            event = self._event()
        except OSError as error:
            return Full.DESCRIPTORS, f"no descriptor for a wait: {error.strerror}"
        now = self._clock()
        wait = Wait(subject, awaited, event, next(self._tokens), now, now + seconds + _SLACK_SECONDS)
        with self._lookups.lock:
            full = (Full.PLACES, "answered") if awaited.answer is not None else against(awaited.domain)
            if full is None:
                awaited.to_wake.append(wait.wake)
                awaited.waiting += 1
                self._lookups.domains.entered(awaited.domain)
                with self._lock:
                    self._waits[wait.token] = wait
                return wait
        self._free.append(event)
        return full

    def _event(self) -> int:
        """A descriptor that nobody uses. Raises OSError."""
        try:
            return self._free.pop()
        except IndexError:
            return _new_event()

    def tell(self, hint: HintUnderWay, result: HintResult) -> None:
        """A hint has come to something: whoever waits for it goes on."""
        with self._lookups.lock:
            hint.answer = result
            for _ in range(hint.waiting):
                self._lookups.domains.left(hint.domain)
            hint.waiting = 0
        for wake in hint.to_wake:
            wake()

    def leave(self, text: str) -> Wait[_Subject] | None:
        """The wait that was handed out as `text` is over. None when there is no such wait (any more)."""
        try:
            token = int(text.rpartition(" ")[2])
        except ValueError:
            return None
        with self._lock:
            wait = self._waits.pop(token, None)
        if wait is not None:
            self._end(wait)
        return wait

    def answer(self, wait: Wait[_Subject]) -> Answer:
        """What the DNS has said by the end of a wait for a lookup, and counts how the wait ended."""
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
            why = f"no answer within {self._patience:g} s; the lookup goes on for the device's next try"
        return self._lookups.instead(lookup.name, why)

    def _end(self, wait: Wait[_Subject]) -> None:
        awaited = wait.awaited
        told = _read(wait.event)
        with self._lookups.lock:
            if awaited.answer is None:
                awaited.to_wake.remove(wait.wake)
                awaited.waiting -= 1
                self._lookups.domains.left(awaited.domain)
            # An answer that is being told at this very moment must not wake the descriptor's next user.
            (self._free if told or awaited.answer is None else self._resting).append(wait.event)

    def sweep(self) -> int:
        """End waits that FreeRADIUS has given up: it asks no more about them. Returns how many there were."""
        now, resting = self._clock(), self._rested
        with self._lookups.lock:
            self._rested = list(self._resting)
        with self._lock:
            gone = [wait for wait in self._waits.values() if now > wait.ends + _ABANDONED_SECONDS]
            for wait in gone:
                del self._waits[wait.token]
        for wait in gone:
            self._end(wait)
        self.counts.abandoned += len(gone)
        self._put_away(resting, keep=_KEPT_EVENTS if not self._waits else None)
        return len(gone)

    def _put_away(self, rested: list[int], keep: int | None) -> None:
        """Descriptors that have rested are free; of the free ones, `keep` stay open (None: all)."""
        for event in rested:
            _read(event)
        with self._lookups.lock:
            self._resting = [event for event in self._resting if event not in rested]
            self._free += rested
            spare: list[int] = []
            if keep is not None:
                spare, self._free = self._free[keep:], self._free[:keep]
        for event in spare:
            os.close(event)

    def close(self) -> None:
        """Close the descriptors. Only when nothing waits, and nothing is under way, any more."""
        with self._lock:
            events = self._free + self._resting + [wait.event for wait in self._waits.values()]
            self._free, self._resting, self._waits = [], [], {}
        for event in events:
            os.close(event)


def reserve_descriptors(places: int) -> int:
    """Allow this process descriptors for so many waits beside its others; returns how many waits may have one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FIRST_EVENT + places + _KEPT_EVENTS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return places if soft == resource.RLIM_INFINITY else max(0, min(places, soft - _FIRST_EVENT))


def _new_event() -> int:
    """An eventfd, out of the way of the server's own descriptors. Raises OSError."""
    low = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        return fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _FIRST_EVENT)
    finally:
        os.close(low)


def _read(event: int) -> bool:
    """Whether somebody has written to an eventfd; it is as new after that."""
    try:
        os.eventfd_read(event)
    except BlockingIOError:
        return False
    return True

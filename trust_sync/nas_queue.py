"""In which order NASes are asked, and how many requests are under way: in all, and for one NAS.

A NAS that does not answer gets one request, once in a while, however many sessions it has: that one shows when it is
back. Until a NAS has answered, few requests are sent to it, and more with each answer.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field

from trust_sync.fair import FairQueue
from trust_sync.standing import retry_after

_FIRST_WINDOW = 4.0


@dataclass
class _Nas:
    """urgent: sessions to be ended; routine: those whose access policy changes. silent: rounds in a row in vain."""

    urgent: FairQueue = field(default_factory=FairQueue)
    routine: FairQueue = field(default_factory=FairQueue)
    flying: int = 0
    window: float = _FIRST_WINDOW
    silent: int = 0
    due: float = 0.0

    @property
    def waiting(self) -> int:
        return len(self.urgent) + len(self.routine)

    def room(self, now: float) -> bool:
        if not self.waiting:
            return False
        if self.silent:
            return not self.flying and now >= self.due
        return self.flying < int(self.window)

    def next(self) -> str:
        return (self.urgent or self.routine).pop()


@dataclass(frozen=True)
class Ticket:
    """A request that may be sent. silent: how often its NAS was silent before."""

    nas: str
    key: str
    silent: int


class NasQueue:
    """Sessions that wait for a request to their NAS. Times are seconds of the caller's clock. Pure."""

    def __init__(self, in_flight: int, in_flight_per_nas: int, retry_min: float, retry_max: float) -> None:
        self._in_flight, self._per_nas = in_flight, in_flight_per_nas
        self._retry_min, self._retry_max = retry_min, retry_max
        self._nases: dict[str, _Nas] = {}
        # NASes that have something to be sent, in the order of their turns.
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._due: list[tuple[float, str]] = []
        self._flying = 0

    def put(self, nas: str, key: str, source: str, *, urgent: bool) -> None:
        """Queue a session; `source` is whose it is, and these take turns. One that is queued may become urgent."""
        found = self._nases.setdefault(nas, _Nas())
        if urgent:
            found.routine.remove(key)
            found.urgent.put(source, key)
        elif key not in found.urgent:
            found.routine.put(source, key)
        self._turns.setdefault(nas)

    def take(self, now: float) -> Ticket | None:
        """The next session to be asked for, None when none may be asked for now. Each must be given back by `done`.

        NASes take turns; those that have something urgent come first.
        """
        while self._due and self._due[0][0] <= now:
            nas = heapq.heappop(self._due)[1]
            if nas in self._nases and self._nases[nas].waiting:
                self._turns.setdefault(nas)
        if self._flying >= self._in_flight:
            return None
        second: str | None = None
        for nas in list(self._turns):
            found = self._nases[nas]
            if not found.room(now):
                # It comes back with the next answer, or when it is due.
                del self._turns[nas]
            elif found.urgent:
                return self._ticket(nas, found)
            else:
                second = second or nas
        return self._ticket(second, self._nases[second]) if second is not None else None

    def _ticket(self, nas: str, found: _Nas) -> Ticket:
        self._turns.move_to_end(nas)
        found.flying += 1
        self._flying += 1
        return Ticket(nas, found.next(), found.silent)

    def done(self, ticket: Ticket, now: float, *, reached: bool | None) -> bool:
        """The request has ended. reached: whether the NAS answered; None when it was not asked after all.

        A session that is to be asked for again is `put` back before. Returns whether this is the first time in this
        round that the NAS was found silent.
        """
        found = self._nases[ticket.nas]
        found.flying -= 1
        self._flying -= 1
        first = False
        if reached:
            found.silent, found.due = 0, 0.0
            found.window = min(float(self._per_nas), found.window + 1.0)
        elif reached is not None and found.silent == ticket.silent:
            # Of the requests that were under way together, the first one counts.
            first = True
            found.silent += 1
            found.window = _FIRST_WINDOW
            found.due = now + retry_after(found.silent, self._retry_min, self._retry_max)
            heapq.heappush(self._due, (found.due, ticket.nas))
        if found.waiting:
            self._turns.setdefault(ticket.nas)
        elif not found.flying:
            del self._nases[ticket.nas]
            self._turns.pop(ticket.nas, None)
        return first

    def lost(self, nas: str) -> None:
        """A transmission to a NAS was not answered in time: it may be overrun."""
        found = self._nases.get(nas)
        if found is not None:
            found.window = max(1.0, found.window / 2)

    def forget(self, key: str, nas: str) -> None:
        """A session need not be asked for any more."""
        found = self._nases.get(nas)
        if found is None:
            return
        found.urgent.remove(key)
        found.routine.remove(key)
        if not found.waiting and not found.flying:
            del self._nases[nas]
            self._turns.pop(nas, None)

    def keys(self, nas: str) -> list[str]:
        """The sessions that wait for a NAS."""
        found = self._nases.get(nas)
        return [*found.urgent.items, *found.routine.items] if found else []

    def due(self, nas: str) -> float:
        """When a silent NAS is asked again; 0 for one that is not silent."""
        found = self._nases.get(nas)
        return found.due if found and found.silent else 0.0

    @property
    def next_due(self) -> float | None:
        """When the next silent NAS is asked again."""
        return self._due[0][0] if self._due else None

    def hurry(self) -> None:
        """Ask silent NASes at once: the clock was changed."""
        for nas, found in self._nases.items():
            found.due = 0.0
            if found.waiting:
                self._turns.setdefault(nas)
        self._due.clear()

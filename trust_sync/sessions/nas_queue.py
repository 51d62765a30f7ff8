"""The order of requests to NASes, and how many are outstanding in total and for one NAS. Pure.

An unreachable NAS receives one request at a time, after growing delays, however many of its sessions wait. A NAS that
has not answered yet has a small window of outstanding requests, which grows with each answer.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, auto

from trust_sync.sessions.fair_queue import FairQueue
from trust_sync.shared import retry_delay

_FIRST_WINDOW = 4.0


class NasResponse(Enum):
    """Whether a NAS answered a request. NOT_ASKED: no request was necessary."""

    ANSWERED = auto()
    SILENT = auto()
    NOT_ASKED = auto()


@dataclass
class _NasState:
    """urgent: sessions to end. routine: sessions whose access changes with the policy. window: limit of `outstanding`.

    silent: consecutive rounds without an answer. due: the next request to a silent NAS.
    """

    urgent: FairQueue = field(default_factory=FairQueue)
    routine: FairQueue = field(default_factory=FairQueue)
    outstanding: int = 0
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
            return not self.outstanding and now >= self.due
        return self.outstanding < int(self.window)

    def next(self) -> str:
        return (self.urgent or self.routine).pop()


@dataclass(frozen=True)
class Ticket:
    """Permission to send a request for the session `key`. silent: the NAS's consecutive silent rounds so far."""

    nas: str
    key: str
    silent: int


class NasQueue:
    """Sessions that wait for a request to their NAS. Times are seconds on the caller's clock."""

    def __init__(self, in_flight: int, in_flight_per_nas: int, retry_min: float, retry_max: float) -> None:
        self._in_flight, self._per_nas = in_flight, in_flight_per_nas
        self._retry_min, self._retry_max = retry_min, retry_max
        self._nases: dict[str, _NasState] = {}
        # NASes with waiting sessions, in the order of their turns.
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._due: list[tuple[float, str]] = []
        self._outstanding = 0

    def put(self, nas: str, key: str, source: str, *, urgent: bool) -> None:
        """Queue the session `key`. The sessions of a NAS take turns by `source`. A queued session may become urgent."""
        found = self._nases.setdefault(nas, _NasState())
        if urgent:
            found.routine.remove(key)
            found.urgent.put(source, key)
        elif key not in found.urgent:
            found.routine.put(source, key)
        self._turns.setdefault(nas)

    def take(self, now: float) -> Ticket | None:
        """Permit the next request. None: none may be sent now. Each ticket must be returned to `done`.

        NASes take turns; those with an urgent session come first.
        """
        while self._due and self._due[0][0] <= now:
            nas = heapq.heappop(self._due)[1]
            if nas in self._nases and self._nases[nas].waiting:
                self._turns.setdefault(nas)
        if self._outstanding >= self._in_flight:
            return None
        second: str | None = None
        for nas in list(self._turns):
            found = self._nases[nas]
            if not found.room(now):
                # `done` adds it again after an answer, or `take` when it is due.
                del self._turns[nas]
            elif found.urgent:
                return self._ticket(nas, found)
            else:
                second = second or nas
        return self._ticket(second, self._nases[second]) if second is not None else None

    def _ticket(self, nas: str, found: _NasState) -> Ticket:
        self._turns.move_to_end(nas)
        found.outstanding += 1
        self._outstanding += 1
        return Ticket(nas, found.next(), found.silent)

    def done(self, ticket: Ticket, now: float, *, response: NasResponse) -> bool:
        """Return a ticket. A session that needs another request must be `put` back before.

        Returns whether this request is the first of its round to show that the NAS is silent.
        """
        found = self._nases[ticket.nas]
        found.outstanding -= 1
        self._outstanding -= 1
        first = False
        if response is NasResponse.ANSWERED:
            found.silent, found.due = 0, 0.0
            found.window = min(float(self._per_nas), found.window + 1.0)
        elif response is NasResponse.SILENT and found.silent == ticket.silent:
            # Of the requests that were outstanding together, only the first one counts.
            first = True
            found.silent += 1
            found.window = _FIRST_WINDOW
            found.due = now + retry_delay(found.silent, self._retry_min, self._retry_max)
            heapq.heappush(self._due, (found.due, ticket.nas))
        if found.waiting:
            self._turns.setdefault(ticket.nas)
        elif not found.outstanding:
            del self._nases[ticket.nas]
            self._turns.pop(ticket.nas, None)
        return first

    def transmission_lost(self, nas: str) -> None:
        """Halve the window of a NAS that left a transmission unanswered: it may be overloaded."""
        found = self._nases.get(nas)
        if found is not None:
            found.window = max(1.0, found.window / 2)

    def discard(self, key: str, nas: str) -> None:
        """Remove a session that needs no request any more."""
        found = self._nases.get(nas)
        if found is None:
            return
        found.urgent.remove(key)
        found.routine.remove(key)
        if not found.waiting and not found.outstanding:
            del self._nases[nas]
            self._turns.pop(nas, None)

    def keys(self, nas: str) -> list[str]:
        """The sessions that wait for a request to a NAS."""
        found = self._nases.get(nas)
        return [*found.urgent.items, *found.routine.items] if found else []

    def due(self, nas: str) -> float:
        """When the next request to a silent NAS is due. 0: the NAS is not silent."""
        found = self._nases.get(nas)
        return found.due if found and found.silent else 0.0

    @property
    def next_due(self) -> float | None:
        """When the next request to any silent NAS is due."""
        return self._due[0][0] if self._due else None

    def make_due(self) -> None:
        """Make the next request to every silent NAS due now, as the clock was changed."""
        for nas, found in self._nases.items():
            found.due = 0.0
            if found.waiting:
                self._turns.setdefault(nas)
        self._due.clear()

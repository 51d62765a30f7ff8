"""Which background lookup is next: refreshes ahead of expiry, and lookups before sessions end. No I/O, no clock."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from enum import StrEnum

from dane_radius.core.names import identity_domain

_MAX_QUEUED = 10_000
_MAX_SESSION_ENDS = 100_000


class Cause(StrEnum):
    """Why a lookup is started."""

    DECISION = "decision"
    CERTIFICATE = "certificate"
    IDENTITY = "identity"
    REFRESH = "refresh"
    SESSION_END = "session_end"
    DOMAIN = "domain"


# Lookups that no request waits for: a limited number at a time, in turns between domains.
BACKGROUND = frozenset({Cause.REFRESH, Cause.SESSION_END, Cause.DOMAIN})


class BackgroundQueue:
    """Names that wait for a background lookup. Domains take turns, so that a large one does not delay the others."""

    def __init__(self) -> None:
        # The first name of the first domain is next.
        self._domains: OrderedDict[str, OrderedDict[str, Cause]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, name: str, cause: Cause) -> bool:
        """Queue a name, unless it is queued already. Returns False when the queue is full."""
        if self._length >= _MAX_QUEUED:
            return False
        names = self._domains.setdefault(identity_domain(name), OrderedDict())
        if name not in names:
            names[name] = cause
            self._length += 1
        return True

    def take(self) -> tuple[str, Cause]:
        """The next name, removed from the queue. Raises KeyError when the queue is empty."""
        domain, names = self._domains.popitem(last=False)
        name, cause = names.popitem(last=False)
        self._length -= 1
        if names:
            self._domains[domain] = names
        return name, cause


class SessionEnds:
    """When a device is expected to authenticate again. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, str]] = []
        self._at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, name: str, at: float) -> None:
        """Note the time for a name, in place of an earlier note. Beyond the limit, the note is dropped."""
        if len(self._heap) < _MAX_SESSION_ENDS:
            self._at[name] = at
            heapq.heappush(self._heap, (at, name))

    def take_due(self, now: float) -> list[str]:
        """Remove and return the names whose time is not after `now`."""
        names = []
        while self._heap and self._heap[0][0] <= now:
            at, name = heapq.heappop(self._heap)
            # Otherwise a later note for the same name has replaced this one.
            if self._at.get(name) == at:
                del self._at[name]
                names.append(name)
        return names

"""The names with live sessions, and when each is looked up next. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import replace

from trust_sync.sessions.validity import WatchedName
from trust_sync.shared import Trigger


class WatchList:
    """Watched names, ordered by their next lookup. Times are seconds since 1970.

    records: the TLSA records last seen of each name, as text. They are kept up to date; the caller saves them.
    on_schedule: called with the time of each lookup that is scheduled.
    """

    def __init__(self, records: dict[str, list[str]]) -> None:
        self._records = records
        self._watched: dict[str, WatchedName] = {}
        # The time of each lookup. An entry that differs from the name's present time is obsolete.
        self._due: list[tuple[float, str]] = []
        self.on_schedule: Callable[[float], None] = lambda due: None

    def __len__(self) -> int:
        return len(self._watched)

    def __contains__(self, name: str) -> bool:
        return name in self._watched

    @property
    def names(self) -> list[str]:
        """The watched names."""
        return list(self._watched)

    def get(self, name: str) -> WatchedName | None:
        """A watched name. None: the name is not watched."""
        return self._watched.get(name)

    def begin(self, name: str, due: float, trigger: Trigger) -> None:
        """Watch a name. The records that were seen before a restart apply."""
        self.schedule(self._restored(name, due, trigger))

    def trigger(self, name: str, trigger: Trigger, due: float) -> WatchedName:
        """Watch a name that is looked up at once, so that no lookup is scheduled."""
        watched = self._watched.get(name) or self._restored(name, due, trigger)
        self._watched[name] = replace(watched, due=due, trigger=trigger, attempts=0)
        return self._watched[name]

    def _restored(self, name: str, due: float, trigger: Trigger) -> WatchedName:
        records = self._records.get(name)
        return WatchedName(name, due, frozenset(records) if records else None, trigger=trigger)

    def schedule(self, watched: WatchedName) -> None:
        """Set a watched name, and schedule its lookup."""
        self._watched[watched.name] = watched
        if watched.records is not None:
            self._records[watched.name] = sorted(watched.records)
        heapq.heappush(self._due, (watched.due, watched.name))
        self.on_schedule(watched.due)

    def reschedule(self, name: str, due: float) -> None:
        """Change the time of a name's next lookup, if the name is watched."""
        watched = self._watched.get(name)
        if watched is not None:
            self.schedule(replace(watched, due=due))

    def remove(self, name: str) -> None:
        """Stop watching a name."""
        self._watched.pop(name, None)
        self._records.pop(name, None)

    def forget_records(self, name: str) -> None:
        """Forget the records of a name that the DNS no longer has."""
        self._records.pop(name, None)

    @property
    def next_due(self) -> float | None:
        """When the next lookup is due. None: none is scheduled."""
        return self._due[0][0] if self._due else None

    def pop_due(self, now: float) -> Iterator[WatchedName]:
        """Remove the lookups that are due from the schedule, and return their names."""
        while self._due and self._due[0][0] <= now:
            due, name = heapq.heappop(self._due)
            watched = self._watched.get(name)
            if watched is not None and watched.due == due:
                yield watched

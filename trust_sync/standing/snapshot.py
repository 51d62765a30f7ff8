"""A snapshot of the operations service, compared with the journal as it arrives.

Only differences are kept, in a file beside the journal. The memory that a snapshot takes hardly depends on its size.

The service owns the standing of devices, so the journal follows its snapshot. There is one exception. A service that
has another database than before, or one whose numbers went back, may have lost what it said. A device that was
quarantined must not become normal by that: the stricter standing stays in force, and is marked as `kept`, until the
service says something else of that device, or an operator adopts the service's word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from dane_radius.local import RANK, Entry, JournalFormatError, Standings, standing_now
from policy import Standing
from trust_sync.feeds import FeedError, Problems, Unusable, expect_array, number
from trust_sync.standing.journal import JournalError, StandingJournal
from trust_sync.standing.messages import read_origin, to_entry


class SnapshotReader:
    """Reads a snapshot. Close it when done.

    seq, origin: of the snapshot. count: how many entries it has. problems: what is wrong with some. unreadable: how
    many say not even which device they mean. trusted: whether it continues what the journal has. fresh: what the
    snapshot says, if there is no journal yet.
    """

    def __init__(
        self, journal: StandingJournal, source: str, *, adopt: bool = False, wall: Callable[[], float] = time.time
    ) -> None:
        """adopt: the service's word counts, whatever an earlier one said. Raises JournalError."""
        self._journal, self._source, self._adopt, self._wall = journal, source, adopt, wall
        try:
            self.file = journal.new()
        except OSError as error:
            raise JournalError(f"{journal.path}: {error.strerror or error}") from error
        self.fresh = Standings() if journal.header is None else None
        self._seen: set[int] = set()
        self.seq, self.origin = 0, None if journal.header is None else journal.header.origin
        self.count = 0
        self.problems = Problems()
        self.unreadable = 0
        self.trusted: bool | None = None

    def __enter__(self) -> SnapshotReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.__exit__()

    def take(self, array: str, item: Any, members: dict[str, Any]) -> None:
        """Read one element of `standing`. Raises FeedError, JournalError."""
        if array != "standing":
            return
        if self.trusted is None:
            self._begin(members)
        self.count += 1
        try:
            if isinstance(item, Unusable) or not isinstance(item, dict):
                raise JournalFormatError(item.why if isinstance(item, Unusable) else "an object is expected")
            entry, problem = to_entry(item)
        except JournalFormatError as error:
            self.problems.add(str(error))
            self.unreadable += 1
            return
        if problem is not None:
            self.problems.add(problem)
        if entry is None:
            return
        try:
            self._compare(entry)
        except OSError as error:
            raise JournalError(f"{self._journal.path}: {error.strerror or error}") from error

    def _begin(self, members: dict[str, Any]) -> None:
        """Read what precedes the entries, and find out whether the service is the one that the journal is from."""
        self.seq, origin = number("seq", members), read_origin(members)
        header, position = self._journal.header, self._journal.position
        if header is None or position is None or self._adopt:
            self.trusted = True
        elif origin is not None and header.origin is not None:
            self.trusted = origin == header.origin and self.seq >= position
        else:
            self.trusted = self._source == header.source and self.seq >= position
        self.origin = origin

    def _compare(self, entry: Entry) -> None:
        if self.fresh is not None:
            if self.fresh.apply(entry):
                self.file.add(self.seq, entry)
            return
        self._seen.add(hash((entry.maker, entry.name)))
        before = self._journal.standings.entry(entry.name, maker=entry.maker)
        wanted = self._wanted(before, entry)
        if before is None:
            if not wanted.is_plain:
                self.file.add(self.seq, wanted)
        elif wanted != before:
            self.file.add(self.seq, wanted)

    def _wanted(self, before: Entry | None, entry: Entry) -> Entry:
        """What is to be in force after the snapshot has said `entry`."""
        if before is None or self._adopt or (self.trusted and not before.kept):
            return entry
        now = self._wall()
        if _rank(before, now) <= _rank(entry, now):
            return entry
        return before._replace(approved=before.approved and entry.approved, kept=True)

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """Check the complete response. Raises FeedError."""
        expect_array("standing", counts)
        if self.trusted is None:
            self._begin(members)
        elif number("seq", members) != self.seq:
            raise FeedError("malformed", "seq: two numbers found")

    def missing(self) -> Iterator[Entry]:
        """What is to be in force for the subjects that a readable snapshot does not list."""
        now = self._wall()
        for before in self._journal.standings.entries():
            if hash((before.maker, before.name)) in self._seen:
                continue
            if self._adopt or (self.trusted and not before.kept) or _rank(before, now) <= RANK[Standing.WATCHED]:
                yield Entry(before.name, before.maker, removed=True)
            elif not before.kept or before.approved:
                yield before._replace(approved=False, kept=True)


def _rank(entry: Entry, now: float) -> int:
    standing = standing_now(entry, now)
    return RANK[standing.standing] if standing is not None else RANK[Standing.NORMAL]

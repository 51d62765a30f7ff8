"""Follows the operations service: the standing of devices goes into the journal, and takes effect on live sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from dane_radius.local import EarlierStandings, Entry, Header
from policy import DeviceStanding
from trust_sync.feeds import FeedClient, FeedError, FeedPosition, FollowedFeed, MemoryBudget, Polled, shortened
from trust_sync.shared import OPERATIONS, OperationsConfig, Reporting, StandingNotice, TimeSlice
from trust_sync.standing.journal import JournalError, StandingJournal
from trust_sync.standing.messages import StandingChanges, bounds_of_changes, bounds_of_snapshot
from trust_sync.standing.metrics import StandingMetrics
from trust_sync.standing.module_socket import ModuleSocket
from trust_sync.standing.snapshot import SnapshotReader

# Entries that are made durable, and take effect on live sessions, together.
_ENTRIES_PER_BATCH = 500


class StandingListener(Protocol):
    """Receives the names whose standing has changed."""

    async def standing_changed(self, notice: StandingNotice) -> bool:
        """Move or end the live sessions whose access has changed. Returns whether that has begun."""


class StandingFeed(FollowedFeed):
    """Follows the operations service. position: kept up to date; its `seq` is the journal's.

    adopting: whether the next comparison takes the service's word for everything.
    """

    storage_error = JournalError

    def __init__(
        self,
        config: OperationsConfig,
        journal: StandingJournal,
        module: ModuleSocket,
        listener: StandingListener,
        position: FeedPosition,
        reporting: Reporting[StandingMetrics],
        save: Callable[[], Awaitable[None]],
        wall: Callable[[], float] = time.time,
    ) -> None:
        """save: makes durable what the listener has begun. Raises ConfigError, and OSError for the CA file."""
        log = reporting.log.bind(service=OPERATIONS)
        super().__init__(OPERATIONS, config, position, Reporting(reporting.metrics.feeds, log), wall)
        self.config, self.journal, self._metrics = config, journal, reporting.metrics
        self._module, self._listener, self._save = module, listener, save
        # A snapshot is not held in memory, so it does not share the registries' budget.
        self._client = FeedClient(OPERATIONS, OPERATIONS, config, MemoryBudget(config.max_snapshot_octets, 1))
        self._compaction: asyncio.Task[None] | None = None
        self.adopting = False
        # Whether the effect of a change on live sessions has not begun. The journal then keeps its position, so that a
        # restart repeats the change.
        self._effect_due = False
        position.seq = self._resumable_position()

    def _resumable_position(self) -> int | None:
        """Where the journal ends; None if it is another service's, so that a comparison is due."""
        header = self.journal.header
        return self.journal.position if header is not None and header.source == self.config.url else None

    def adopt(self) -> None:
        """Have the next comparison take the service's word, also where an earlier service was stricter."""
        self.adopting, self.position.last_snapshot = True, 0.0

    async def run(self) -> None:
        """Follow the service until cancelled."""
        if self.journal.problem:
            self._log.error("journal not used; waiting for a snapshot", problem=self.journal.problem)
        await self._settle()
        await super().run()

    async def _settle(self) -> None:
        """Repeat the effect on live sessions that an earlier process may not have brought about."""
        unsettled, self.journal.unsettled = self.journal.unsettled, []
        if unsettled:
            try:
                await self._tell(_notice(unsettled, lambda _name, _now: None))
            except Exception:
                # What is new is more important.
                self._log.exception("effect of earlier changes not repeated", entries=len(unsettled))

    async def close(self) -> None:
        """Close the HTTP session, and give up a compaction."""
        if self._compaction is not None:
            self._compaction.cancel()
            await asyncio.gather(self._compaction, return_exceptions=True)
        await self._client.close()

    def end_response(self) -> None:
        """Release what a response has used."""
        self._client.release()

    def storage_failed(self) -> None:
        """Count a failure of the journal."""
        self._metrics.write_failures.inc()

    async def too_large(self) -> None:
        """Do nothing more than to compare the whole state, as the caller does."""

    async def poll(self, since: int, wait: int) -> Polled:
        """Put the changes of a response into the journal, and have them take effect."""
        header = self.journal.header
        reader = StandingChanges(since, header.origin if header is not None else None)
        response = await self._client.changes(since, wait, bounds_of_changes(self.config), reader)
        count = len(response.changes) + response.problems.count
        try:
            for start in range(0, len(response.entries), _ENTRIES_PER_BATCH):
                await self._apply(response.entries[start : start + _ENTRIES_PER_BATCH])
            if response.next != since:
                await self._settled(response.next)
        except JournalError as error:
            return Polled(count, since, response.problems, error)
        self._compact_if_due()
        return Polled(count, response.next, response.problems)

    async def _apply(self, entries: Sequence[tuple[int, Entry]]) -> None:
        """Put entries in force: on the disk, in the module, and for live sessions. Raises JournalError."""
        earlier = EarlierStandings(self.journal.standings)
        for _, entry in entries:
            earlier.remember(entry.name, maker=entry.maker)
        self.journal.append(entries)
        # Before a session ends, because its device reconnects at once.
        told = await self._module.journal_grew(entries[-1][0])
        for _, entry in entries[:10]:
            self._log.info(
                "standing changed", name=entry.name, maker=entry.maker, standing=str(entry.standing),
                approved=entry.approved, zone=entry.zone, kept=entry.kept, removed=entry.removed,
            )  # fmt: skip
        if len(entries) > 10:
            self._log.info("standing changed", further=len(entries) - 10)
        await self._tell(_notice((entry for _, entry in entries), earlier.of, told=told))

    async def _tell(self, notice: StandingNotice) -> None:
        self._effect_due = not await self._listener.standing_changed(notice)

    async def _settled(self, seq: int) -> None:
        """Record that the effect on live sessions has begun, and outlives this process. Raises JournalError."""
        if not self._effect_due:
            await self._save()
            self.journal.append((), seq)

    async def compare(self) -> int:
        """Make the journal say what a snapshot says. Raises FeedError, HistoryGone, JournalError."""
        with SnapshotReader(self.journal, self.config.url, adopt=self.adopting, wall=self._wall) as reader:
            snapshot = await self._client.snapshot(bounds_of_snapshot(self.config), reader)
            if snapshot.problems.count:
                self._feed_metrics.failures.labels(self.name, "malformed").inc(snapshot.problems.count)
                self._log.error(
                    "snapshot contains unreadable entries; what it does not list stays in force",
                    problems=snapshot.problems.first, count=snapshot.problems.count,
                )  # fmt: skip
            if not snapshot.trusted:
                self._log.error(
                    "another service, or one that went back: stricter standings stay in force until they are confirmed"
                    " or `trust-sync standing adopt` is given",
                    seq=snapshot.seq, position=self.journal.position, origin=shortened(snapshot.origin or ""),
                )  # fmt: skip
            if snapshot.fresh is not None:
                await self._begin(snapshot)
            else:
                await self._follow(snapshot)
        self.adopting = False
        self._log.info(
            "synchronized",
            entries=snapshot.count, seq=snapshot.seq, kept=self.journal.standings.kept,
        )  # fmt: skip
        return snapshot.seq

    async def _begin(self, snapshot: SnapshotReader) -> None:
        """Begin the journal with a first snapshot."""
        if snapshot.unreadable:
            # Nothing is in force yet. An entry that is missing could be that of a device that is to be refused.
            raise FeedError("malformed", f"the first snapshot has unreadable entries: {snapshot.problems.first[0]}")
        assert snapshot.fresh is not None
        self.journal.replace(snapshot.file, self._header(snapshot), snapshot.fresh)
        told = await self._module.journal_grew(snapshot.seq)
        await self._tell(StandingNotice((), (), lambda _name, _now: None, everything=True, told=told))
        await self._settled(snapshot.seq)

    def _header(self, snapshot: SnapshotReader) -> Header:
        return Header(self.config.url, snapshot.seq, snapshot.origin)

    async def _follow(self, snapshot: SnapshotReader) -> None:
        """Apply the differences of a snapshot to the journal. Raises JournalError."""
        await self._apply_all(snapshot.seq, snapshot.file.entries())
        if not snapshot.problems.count:
            await self._apply_all(snapshot.seq, snapshot.missing())
        await self._settled(snapshot.seq)
        header = self.journal.header
        if header is not None and (header.source, header.origin) != (self.config.url, snapshot.origin):
            # The first line names the service.
            await self.journal.compact(self._header(snapshot))
            await self._module.journal_grew()

    async def _apply_all(self, seq: int, entries: Iterable[Entry]) -> None:
        batch: list[tuple[int, Entry]] = []
        pace = TimeSlice()
        for entry in entries:
            await pace.rest()
            batch.append((seq, entry))
            if len(batch) >= _ENTRIES_PER_BATCH:
                await self._apply(batch)
                batch = []
        if batch:
            await self._apply(batch)

    def _compact_if_due(self) -> None:
        if self.journal.is_long and (self._compaction is None or self._compaction.done()):
            self._compaction = asyncio.create_task(self._compact(), name="compact standing")

    async def _compact(self) -> None:
        try:
            await self.journal.compact()
        except JournalError as error:
            self.storage_failed()
            self._log.error("journal not compacted", error=str(error))
        else:
            await self._module.journal_grew()


def _notice(
    entries: Iterable[Entry], before: Callable[[str, float], DeviceStanding | None], *, told: bool = True
) -> StandingNotice:
    names: list[str] = []
    makers: list[str] = []
    for entry in entries:
        (makers if entry.maker else names).append(entry.name)
    return StandingNotice(tuple(names), tuple(makers), before, told=told)

"""Follows an IoT registry: what its snapshots and changes mean for anchors, and for names with live sessions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from trust_sync.anchors import AnchorMetrics, AnchorStore, StoreError
from trust_sync.feeds import ChangesReader, FeedClient, FeedPosition, FollowedFeed, MemoryBudget, Polled
from trust_sync.registries.anchor_sync import AnchorSync, ProgressReport
from trust_sync.registries.change_processor import ChangeProcessor
from trust_sync.registries.messages import Change, SnapshotReader, bounds_of_changes, bounds_of_snapshot
from trust_sync.registries.metrics import RegistryMetrics
from trust_sync.shared import Notice, RegistryConfig, Reporting, TimeSlice, Trigger


class NoticeListener(Protocol):
    """Receives a registry's notices about names."""

    async def notice(self, notice: Notice) -> None:
        """Flush the names from all caches, and queue the lookups of those with live sessions."""


class RegistryFeed(FollowedFeed):
    """Follows one registry. position: kept up to date; the caller saves it."""

    storage_error = StoreError

    def __init__(
        self,
        config: RegistryConfig,
        store: AnchorStore,
        listener: NoticeListener,
        position: FeedPosition,
        reporting: Reporting[RegistryMetrics],
        store_metrics: AnchorMetrics,
        wall: Callable[[], float] = time.time,
        budget: MemoryBudget | None = None,
    ) -> None:
        """Raises ConfigError if the API key cannot be read, OSError if the CA file cannot."""
        log = reporting.log.bind(registry=config.name)
        super().__init__(config.name, config, position, Reporting(reporting.metrics.feeds, log), wall)
        self.config = config
        self._listener, self._store_metrics = listener, store_metrics
        budget = budget or MemoryBudget(config.max_snapshot_octets, 1)
        self._client = FeedClient(config.name, f"registry {config.name}", config, budget)
        self._anchors = AnchorSync(config, store, Reporting(reporting.metrics, log), self._limited_log, wall)
        self._changes = ChangeProcessor(config, self._anchors, log, self._limited_log)

    def report_progress(self, report: ProgressReport) -> None:
        """Call `report` with the number of a snapshot's anchors that were compared, and their total."""
        self._anchors.on_progress = report

    async def close(self) -> None:
        """Close the HTTP session."""
        await self._client.close()

    def storage_failed(self) -> None:
        """Count a failure of the anchor store."""
        self._store_metrics.write_failures.inc()

    def end_response(self) -> None:
        """Release the memory of a response."""
        self._client.release()

    async def too_large(self) -> None:
        """Have every session of the registry's domains looked up: the unread part may contain a revocation."""
        await self._notice_all_domains()

    async def compare(self) -> int:
        """Make the store equal to a snapshot, and have every session of the registry's domains looked up."""
        self._anchors.begin()
        snapshot = await self._client.snapshot(bounds_of_snapshot(self.config), SnapshotReader())
        # Revocations come first: neither a full disk nor a long comparison may delay them.
        await self._notice_all_domains()
        anchors = await self._anchors.replace(snapshot)
        self._log.info("synchronized", anchors=anchors, names=snapshot.names, seq=snapshot.seq)
        return snapshot.seq

    async def _notice_all_domains(self) -> None:
        domains = dict.fromkeys(self.config.domains, Trigger.FEED)
        await self._listener.notice(Notice(self.config.name, domains=domains))

    async def poll(self, since: int, wait: int) -> Polled:
        """Process a response: first the names, as sessions may have to end, then the anchors.

        The position moves past a change only after every listener has been told. A change that the store cannot take
        keeps the position before it, but the changes after it are still processed, as they may be revocations.
        """
        self._anchors.begin()
        reader = ChangesReader(Change, since)
        response = await self._client.changes(since, wait, bounds_of_changes(self.config), reader)
        pace = TimeSlice()
        notice = await self._changes.collect_notice(response, pace)
        pace.pause()
        if notice:
            await self._listener.notice(notice)
        pace.resume()
        applied = await self._changes.apply(response, pace)
        count = len(response.changes) + response.problems.count
        return Polled(count, applied.passed, response.problems, applied.failure, applied.comparison_due)

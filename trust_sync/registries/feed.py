"""Follows an IoT registry: first its whole state, then every change, resumable after a restart."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

from trust_sync.anchors import AnchorMetrics, AnchorStore, StoreError
from trust_sync.registries.anchor_sync import AnchorSync, ProgressReport
from trust_sync.registries.change_processor import ChangeProcessor
from trust_sync.registries.client import HistoryGone, RegistryClient
from trust_sync.registries.log_limit import LimitedLog
from trust_sync.registries.memory_budget import MemoryBudget
from trust_sync.registries.messages import ChangesReader, FeedError, Problems, SequenceError
from trust_sync.registries.metrics import RegistryMetrics
from trust_sync.registries.schedule import (
    failure_delay,
    is_comparison_due,
    poll_interval,
    snapshot_time_for_early_comparison,
)
from trust_sync.registries.state import FeedPosition
from trust_sync.shared import Notice, RegistryConfig, Reporting, TimeSlice, Trigger


class NoticeListener(Protocol):
    """Receives a registry's notices about names."""

    async def notice(self, notice: Notice) -> None:
        """Flush the names from all caches, and queue the lookups of those with live sessions."""


class RegistryFeed:
    """Follows one registry. position: kept up to date; the caller saves it."""

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
        self.config, self.position = config, position
        self._listener, self._wall = listener, wall
        self._metrics, self._store_metrics = reporting.metrics, store_metrics
        self._log = reporting.log.bind(registry=config.name)
        self._limited_log = LimitedLog(self._log)
        self._client = RegistryClient(config, budget or MemoryBudget(config.max_snapshot_octets, 1))
        self._anchors = AnchorSync(config, store, Reporting(self._metrics, self._log), self._limited_log, wall)
        self._changes = ChangeProcessor(config, self._anchors, self._log, self._limited_log)
        # Whether every request since the last status 410 was for a snapshot.
        self._only_snapshots = False
        self.next_attempt: float | None = None

    def report_progress(self, report: ProgressReport) -> None:
        """Call `report` with the number of a snapshot's anchors that were compared, and their total."""
        self._anchors.on_progress = report

    async def run(self) -> None:
        """Follow the registry until cancelled. After a failure, everything learned before stays in force."""
        try:
            while True:
                try:
                    began, before = time.monotonic(), self.position.seq
                    changes = await self.step(self.config.wait)
                    changes = max(1, changes) if self.position.seq != before else 0
                    interval = poll_interval(self.position, changes, self._wall())
                    await asyncio.sleep(max(0.0, interval - (time.monotonic() - began)))
                except (FeedError, StoreError) as error:
                    await asyncio.sleep(self._record_failure(error))
                except Exception as error:
                    # An unexpected response must not end the worker, or stop the other feeds.
                    self._log.exception("unexpected error while following a registry")
                    failure = FeedError("internal", f"{type(error).__name__}: {error}")
                    await asyncio.sleep(self._record_failure(failure))
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the HTTP session."""
        await self._client.close()

    def _record_failure(self, error: FeedError | StoreError) -> float:
        """Count and log a failure. Returns the seconds until the next attempt."""
        reason = error.reason if isinstance(error, FeedError) else "store"
        self._metrics.failures.labels(self.config.name, reason).inc()
        if isinstance(error, StoreError):
            self._store_metrics.write_failures.inc()
        self.position.failures += 1
        self.position.last_error = str(error)
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  # not for security
        delay = failure_delay(self.position, error, jitter, self._wall())
        self.next_attempt = self._wall() + delay
        self._log.error("registry request failed; retrying", error=str(error), retry_seconds=round(delay, 1))
        return delay

    async def step(self, wait: int) -> int:
        """Get one snapshot, or poll once for at most `wait` seconds.

        Returns the number of changes in the response. Raises FeedError, StoreError.
        """
        now = self._wall()
        self.next_attempt = None
        self._anchors.begin()
        try:
            changes = await self._request(now, wait)
        except FeedError as error:
            if error.reason == "too_large":
                # The unread part may contain a revocation. The backoff after a failure limits how often this is done.
                self.position.seq = None
                await self._notice_all_domains()
            raise
        finally:
            self._client.release()
            self._limited_log.finish()
        self.position.last_error = None
        self.position.last_success = self._wall()
        self._metrics.last_success.labels(self.config.name).set(self.position.last_success)
        return changes

    async def _request(self, now: float, wait: int) -> int:
        seq = self.position.seq
        if seq is None or is_comparison_due(self.position, self.config.resync, now):
            await self._compare(now)
            return 0
        try:
            response = await self._client.changes(seq, wait)
        except HistoryGone:
            self._history_gone()
            return 0
        except SequenceError:
            self.position.seq = None
            raise
        await self._apply_changes(response)
        # Only a successful poll proves that the registry serves its changes again.
        self.position.failures, self._only_snapshots = 0, False
        return len(response.changes) + response.problems.count

    def _history_gone(self) -> None:
        """Make a full comparison due. Raises FeedError if the registry rejects its own snapshot's number."""
        since, self.position.seq = self.position.seq, None
        if self._only_snapshots:
            raise FeedError("malformed", f"status 410 for {since}, the sequence number of its own snapshot")
        self._only_snapshots = True
        self._log.warning("changes were missed; comparing the whole state")

    async def _compare(self, now: float) -> None:
        """Make the store equal to a snapshot, and have every session of the registry's domains looked up."""
        try:
            snapshot = await self._client.snapshot()
        except HistoryGone as error:
            raise FeedError("status", "status 410 for a snapshot") from error
        # Revocations come first: neither a full disk nor a long comparison may delay them.
        await self._notice_all_domains()
        anchors = await self._anchors.replace(snapshot)
        self.position.seq, self.position.last_snapshot = snapshot.seq, now
        self._log.info("synchronized", anchors=anchors, names=snapshot.names, seq=snapshot.seq)

    async def _notice_all_domains(self) -> None:
        domains = dict.fromkeys(self.config.domains, Trigger.FEED)
        await self._listener.notice(Notice(self.config.name, domains=domains))

    async def _apply_changes(self, response: ChangesReader) -> None:
        """Process a response: first the names, as sessions may have to end, then the anchors. Raises StoreError.

        The position moves past a change only after every listener has been told. A change that the store cannot take
        keeps the position before it, but the changes after it are still processed, as they may be revocations.
        """
        pace = TimeSlice()
        notice = await self._changes.collect_notice(response, pace)
        pace.pause()
        if notice:
            await self._listener.notice(notice)
        pace.resume()
        applied = await self._changes.apply(response, pace)
        if applied.comparison_due:
            self.position.last_snapshot = 0.0
        if response.problems.count:
            self._compare_soon(response.problems)
        self.position.seq = applied.passed
        if applied.failure is not None:
            raise applied.failure

    def _compare_soon(self, problems: Problems) -> None:
        """Make a full comparison due: the changes that were not understood may have been about any anchor or name."""
        self._metrics.failures.labels(self.config.name, "malformed").inc(problems.count)
        self._log.error("unreadable changes; comparing the whole state", problems=problems.first, count=problems.count)
        self.position.last_snapshot = snapshot_time_for_early_comparison(
            self.position, self.config.resync, self._wall()
        )

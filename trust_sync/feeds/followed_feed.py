"""Follows a change feed: first its whole state, then every change, resumable after a restart."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from trust_sync.feeds.client import HistoryGone
from trust_sync.feeds.log_limit import LimitedLog
from trust_sync.feeds.messages import FeedError, Problems, SequenceError
from trust_sync.feeds.metrics import FeedMetrics
from trust_sync.feeds.schedule import (
    failure_delay,
    is_comparison_due,
    poll_interval,
    snapshot_time_for_early_comparison,
)
from trust_sync.feeds.state import FeedPosition
from trust_sync.shared import FeedConfig, Reporting


@dataclass(frozen=True)
class Polled:
    """The result of a response to a poll, whose changes were applied.

    count: how many elements it had. passed: the number up to which all changes are applied. problems: what could not be
    read. failure: the first error of local storage. comparison_due: whether the whole state must be compared.
    """

    count: int
    passed: int
    problems: Problems
    failure: Exception | None = None
    comparison_due: bool = False


class FollowedFeed(ABC):
    """Follows one feed. position: kept up to date; the caller saves it. storage_error: of the place of what is learned.

    A subclass says what its snapshots and changes mean.
    """

    storage_error: type[Exception]

    def __init__(
        self,
        name: str,
        config: FeedConfig,
        position: FeedPosition,
        reporting: Reporting[FeedMetrics],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.position = name, position
        self._feed_config, self._feed_metrics, self._wall = config, reporting.metrics, wall
        self._log = reporting.log
        self._limited_log = LimitedLog(self._log)
        # Whether every request since the last status 410 was for a snapshot.
        self._only_snapshots = False
        self.next_attempt: float | None = None

    @abstractmethod
    async def compare(self) -> int:
        """Get a snapshot, and make the state equal to it. Returns its sequence number.

        Raises FeedError, HistoryGone, storage_error.
        """

    @abstractmethod
    async def poll(self, since: int, wait: int) -> Polled:
        """Poll for the changes after `since`, and apply them. Raises FeedError, HistoryGone."""

    @abstractmethod
    async def too_large(self) -> None:
        """A response was refused because of its size. It may have contained anything."""

    @abstractmethod
    def end_response(self) -> None:
        """A response was processed, or has failed."""

    @abstractmethod
    async def close(self) -> None:
        """Close the HTTP session."""

    @abstractmethod
    def storage_failed(self) -> None:
        """Count a failure of local storage."""

    async def run(self) -> None:
        """Follow the feed until cancelled. After a failure, everything learned before stays in force."""
        try:
            while True:
                try:
                    began, before = time.monotonic(), self.position.seq
                    changes = await self.step(self._feed_config.wait)
                    changes = max(1, changes) if self.position.seq != before else 0
                    interval = poll_interval(self.position, changes, self._wall())
                    await asyncio.sleep(max(0.0, interval - (time.monotonic() - began)))
                except (FeedError, self.storage_error) as error:
                    await asyncio.sleep(self._record_failure(error))
                except Exception as error:
                    # An unexpected response must not end the worker, or stop the other feeds.
                    self._log.exception("unexpected error while following a feed")
                    failure = FeedError("internal", f"{type(error).__name__}: {error}")
                    await asyncio.sleep(self._record_failure(failure))
        finally:
            await self.close()

    def _record_failure(self, error: Exception) -> float:
        """Count and log a failure. Returns the seconds until the next attempt."""
        reason = error.reason if isinstance(error, FeedError) else "store"
        self._feed_metrics.failures.labels(self.name, reason).inc()
        if not isinstance(error, FeedError):
            self.storage_failed()
        self.position.failures += 1
        self.position.last_error = str(error)
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  # not for security
        delay = failure_delay(self.position, error, jitter, self._wall())
        self.next_attempt = self._wall() + delay
        self._log.error("feed request failed; retrying", error=str(error), retry_seconds=round(delay, 1))
        return delay

    async def step(self, wait: int) -> int:
        """Get one snapshot, or poll once for at most `wait` seconds.

        Returns the number of changes in the response. Raises FeedError, storage_error.
        """
        now = self._wall()
        self.next_attempt = None
        try:
            changes = await self._request(now, wait)
        except FeedError as error:
            if error.reason == "too_large":
                # The unread part may be urgent. The backoff after a failure limits how often this is done.
                self.position.seq = None
                await self.too_large()
            raise
        finally:
            self.end_response()
            self._limited_log.finish()
        self.position.last_error = None
        self.position.last_success = self._wall()
        self._feed_metrics.last_success.labels(self.name).set(self.position.last_success)
        return changes

    async def _request(self, now: float, wait: int) -> int:
        seq = self.position.seq
        if seq is None or is_comparison_due(self.position, self._feed_config.resync, now):
            await self._compare(now)
            return 0
        try:
            polled = await self.poll(seq, wait)
        except HistoryGone:
            self._history_gone()
            return 0
        except SequenceError:
            self.position.seq = None
            raise
        self._conclude(polled)
        # Only a successful poll proves that the publisher serves its changes again.
        self.position.failures, self._only_snapshots = 0, False
        return polled.count

    def _history_gone(self) -> None:
        """Make a full comparison due. Raises FeedError if the publisher rejects its own snapshot's number."""
        since, self.position.seq = self.position.seq, None
        if self._only_snapshots:
            raise FeedError("malformed", f"status 410 for {since}, the sequence number of its own snapshot")
        self._only_snapshots = True
        self._log.warning("changes were missed; comparing the whole state")

    async def _compare(self, now: float) -> None:
        try:
            seq = await self.compare()
        except HistoryGone as error:
            raise FeedError("status", "status 410 for a snapshot") from error
        self.position.seq, self.position.last_snapshot = seq, now

    def _conclude(self, polled: Polled) -> None:
        """Move the position, and make a comparison due if necessary. Raises storage_error."""
        if polled.comparison_due:
            self.position.last_snapshot = 0.0
        if polled.problems.count:
            self._compare_soon(polled.problems)
        self.position.seq = polled.passed
        if polled.failure is not None:
            raise polled.failure

    def _compare_soon(self, problems: Problems) -> None:
        """Make a full comparison due: the changes that were not understood may have been about anything."""
        self._feed_metrics.failures.labels(self.name, "malformed").inc(problems.count)
        self._log.error("unreadable changes; comparing the whole state", problems=problems.first, count=problems.count)
        self.position.last_snapshot = snapshot_time_for_early_comparison(
            self.position, self._feed_config.resync, self._wall()
        )

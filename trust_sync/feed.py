"""Follows an IoT registry: its whole state once, and then every change, resumable."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

from dane_radius.core import Refused, normalize
from dane_radius.local import Logger
from trust_sync.config import RegistryConfig
from trust_sync.messages import Change, ChangesReader, FeedError, WentBack, read_domain, shortened
from trust_sync.metrics import Metrics
from trust_sync.pace import Budget, Pace
from trust_sync.registry_anchors import RegistryAnchors
from trust_sync.registry_client import HistoryGone, RegistryClient
from trust_sync.standing import Trigger, retry_after
from trust_sync.state import FeedPosition
from trust_sync.store import AnchorStore, StoreError

_BACKOFF_SECONDS = (1.0, 300.0)
# A full disk must not keep revocations from being heard for long.
_STORE_BACKOFF_SECONDS = (1.0, 10.0)
# An answer that brings nothing new comes after a wait; a registry that does not wait is asked no more often than this.
_PACE_SECONDS = 1.0
# Nor, with something new each time, than this: it depends on how many changes there were.
_NEWS_PACE_SECONDS, _NEWS_PACE_MAX_SECONDS, _CHANGE_SECONDS = 0.02, 0.1, 0.001
# Full comparisons come no closer together than this.
_COMPARE_SECONDS = 10.0
# Log lines of one kind for one answer; what is beyond is counted.
_MAX_LINES = 10


class SessionGuard(Protocol):
    """Who is told what changed."""

    async def notice(self, registry: str, names: Mapping[str, Trigger], domains: Mapping[str, Trigger]) -> None:
        """Names, and domains with all names in them, whose records may be others now."""


class RegistryFeed:
    """Follows one registry. `position` is kept up to date and outlives the process."""

    def __init__(
        self,
        config: RegistryConfig,
        store: AnchorStore,
        guard: SessionGuard,
        position: FeedPosition,
        metrics: Metrics,
        log: Logger,
        wall: Callable[[], float] = time.time,
        budget: Budget | None = None,
    ) -> None:
        """Raises ConfigError when the API key cannot be read, OSError when the CA file cannot."""
        self.config, self.position = config, position
        self._guard, self._metrics, self._wall = guard, metrics, wall
        self._log = log.bind(registry=config.name)
        self._client = RegistryClient(config, budget or Budget(config.max_snapshot_octets, 1))
        # Nothing but a snapshot has been heard since the last 410.
        self._only_snapshots = False
        # Log lines of the present answer, by kind.
        self._lines: Counter[str] = Counter()
        # Changes in the latest answer.
        self._news = 0
        self.next_attempt: float | None = None
        self._anchors = RegistryAnchors(config, store, metrics, self._log, self._say, wall)

    def report_progress(self, to: Callable[[int, int], None]) -> None:
        """Have `to` told how many anchors of a snapshot were compared, and how many there are."""
        self._anchors.on_progress = to

    async def run(self) -> None:
        """Until cancelled. Failures are waited out; nothing that the registry said before is taken back by one."""
        try:
            while True:
                try:
                    began, before = time.monotonic(), self.position.seq
                    await self.step(self.config.wait)
                    pace = self._pace(news=self.position.seq != before)
                    await asyncio.sleep(max(0.0, pace - (time.monotonic() - began)))
                except (FeedError, StoreError) as error:
                    await asyncio.sleep(self._failed(error))
                except Exception as error:
                    # Whatever a registry says must not end the worker, or keep it from hearing others.
                    self._log.exception("registry not understood")
                    await asyncio.sleep(self._failed(FeedError("internal", f"{type(error).__name__}: {error}")))
        finally:
            await self.close()

    def _pace(self, *, news: bool) -> float:
        """Seconds from the beginning of one step to that of the next."""
        if self.position.seq is None:
            return self._comparison_wait()
        return min(_NEWS_PACE_MAX_SECONDS, _NEWS_PACE_SECONDS + self._news * _CHANGE_SECONDS) if news else _PACE_SECONDS

    def _comparison_wait(self) -> float:
        """Seconds until the whole may be asked for again."""
        since = self._wall() - self.position.last_snapshot
        return _COMPARE_SECONDS - since if 0 <= since < _COMPARE_SECONDS else 0.0

    async def close(self) -> None:
        await self._client.close()

    def _failed(self, error: FeedError | StoreError) -> float:
        reason = error.reason if isinstance(error, FeedError) else "store"
        self._metrics.source_failures.labels(self.config.name, reason).inc()
        if isinstance(error, StoreError):
            self._metrics.store_failures.inc()
        self.position.failures += 1
        self.position.last_error = str(error)
        limits = _BACKOFF_SECONDS if isinstance(error, FeedError) else _STORE_BACKOFF_SECONDS
        wait = retry_after(self.position.failures, *limits) * random.uniform(0.5, 1.0)  # noqa: S311  # jitter
        if self.position.seq is None:
            wait = max(wait, self._comparison_wait())
        self.next_attempt = self._wall() + wait
        self._log.error("registry not heard; it is asked again", error=str(error), retry_seconds=round(wait, 1))
        return wait

    async def step(self, wait: int) -> None:
        """One snapshot or one poll of at most `wait` seconds. Raises FeedError, StoreError."""
        now = self._wall()
        self.next_attempt = None
        self._lines.clear()
        self._anchors.begin()
        try:
            await self._hear(now, wait)
        except FeedError as error:
            if error.reason == "too_large":
                # It may have been a revocation that was not read. The failure's back-off bounds how often this is done.
                self.position.seq = None
                await self._look_at_all()
            raise
        finally:
            self._client.release()
            self._count_lines()
        self.position.last_error = None
        self.position.last_success = self._wall()
        self._metrics.last_success.labels(self.config.name).set(self.position.last_success)

    async def _hear(self, now: float, wait: int) -> None:
        if self.position.seq is None or not 0 <= now - self.position.last_snapshot < self.config.resync:
            await self._resync(now)
            return
        try:
            answer = await self._client.changes(self.position.seq, wait)
        except HistoryGone:
            await self._missed()
            return
        except WentBack:
            self.position.seq = None
            raise
        await self._follow(answer)
        # Only a poll shows that the registry is whole again.
        self.position.failures, self._only_snapshots = 0, False

    async def _missed(self) -> None:
        """The registry has forgotten, or renumbered, what comes next: a full comparison is due. Raises FeedError."""
        since, self.position.seq = self.position.seq, None
        if self._only_snapshots:
            raise FeedError("malformed", f"status 410 for {since}, the number that its own snapshot gave")
        self._only_snapshots = True
        self._log.warning("changes were missed; the whole state is compared")

    async def _look_at_all(self) -> None:
        """Look at every session of the registry's domains."""
        await self._guard.notice(self.config.name, {}, dict.fromkeys(self.config.domains, Trigger.FEED))

    async def _follow(self, answer: ChangesReader) -> None:
        """Deal with an answer's changes: names first, as sessions may have to end. Raises StoreError.

        A change that the store cannot take is not passed, but those behind it are heard: they may be revocations. The
        position moves only when all who must know have been told.
        """
        self._news = len(answer.changes) + answer.problems.count
        pace = Pace()
        names: dict[str, Trigger] = {}
        domains: dict[str, Trigger] = {}
        for change in answer.changes:
            await pace.rest()
            with self._reporting(change, answer):
                self._note(change, names, domains)
        pace.pause()
        if names or domains:
            await self._guard.notice(self.config.name, names, domains)
        pace.begin()
        failure: StoreError | None = None
        passed = answer.since
        for change in answer.changes:
            await pace.rest()
            try:
                with self._reporting(change, answer):
                    self._apply(change)
            except StoreError as error:
                failure = failure or error
            if failure is None:
                passed = change.seq
        if answer.problems.count:
            # What it said may have been about any anchor and any name.
            self._metrics.source_failures.labels(self.config.name, "malformed").inc(answer.problems.count)
            self._log.error(
                "changes not understood; the whole state is compared",
                problems=answer.problems.first, count=answer.problems.count,
            )  # fmt: skip
            self._compare_soon()
        self.position.seq = passed if failure is not None else answer.next
        if failure is not None:
            raise failure

    def _reporting(self, change: Change, answer: ChangesReader) -> _Reporting:
        """A defect of ours must not make one change stand in the way of all others."""
        return _Reporting(self._log, change, answer)

    def _compare_soon(self) -> None:
        now = self._wall()
        if now - self.position.last_snapshot >= _COMPARE_SECONDS:
            self.position.last_snapshot = 0.0
        else:
            self.position.last_snapshot = now - self.config.resync + _COMPARE_SECONDS

    async def _resync(self, now: float) -> None:
        """Make the store what the registry says, and look at every session of its domains."""
        try:
            snapshot = await self._client.snapshot()
        except HistoryGone as error:
            raise FeedError("status", "status 410 for a snapshot") from error
        # Whatever the disk says: who is gone must not stay connected. And what takes long comes after it.
        await self._look_at_all()
        anchors = await self._anchors.replace(snapshot)
        self.position.seq, self.position.last_snapshot = snapshot.seq, now
        self._log.info("synchronized", anchors=anchors, names=snapshot.names, seq=snapshot.seq)

    # one change

    def _note(self, change: Change, names: dict[str, Trigger], domains: dict[str, Trigger]) -> None:
        """Which name, or domain, a change is about."""
        if change.type == "rollover":
            try:
                domains[read_domain(change.domain, self.config)] = Trigger.ROLLOVER
            except ValueError as error:
                self._say("rollover of a domain that is not the registry's", error=shortened(str(error)))
        if change.name is None:
            return
        try:
            name = normalize(change.name.encode("utf-8", "surrogatepass"))
        except Refused as error:
            self._say("change of an unusable name", error=shortened(error.detail))
            return
        if not self.config.speaks_for(name):
            self._say("change of a name that is not the registry's", name=name)
            return
        if change.type == "device.revoked":
            names[name] = Trigger.REVOKED
        else:
            names.setdefault(name, Trigger.FEED)

    def _apply(self, change: Change) -> None:
        """What a change means for the store. Raises StoreError."""
        match change.type:
            case "anchor.added" if change.anchor is not None:
                self._anchors.add(change.anchor, change.domain)
            case "anchor.removed" if change.anchor is not None:
                if self._anchors.withdraw(change.anchor, change.domain):
                    self.position.last_snapshot = 0.0

    def _say(self, event: str, **fields: str) -> None:
        """A log line, unless there were many of its kind already for this answer."""
        self._lines[event] += 1
        if self._lines[event] <= _MAX_LINES:
            (self._log.error if event == "anchor refused" else self._log.warning)(event, **fields)

    def _count_lines(self) -> None:
        for event, count in self._lines.items():
            if count > _MAX_LINES:
                self._log.warning("more of the same were not logged", what=event, count=count - _MAX_LINES)


class _Reporting:
    """Keeps any error but StoreError from getting out, and reports it as a problem of the answer."""

    def __init__(self, log: Logger, change: Change, answer: ChangesReader) -> None:
        self._log, self._change, self._answer = log, change, answer

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> bool:
        if error is None or isinstance(error, StoreError) or not isinstance(error, Exception):
            return False
        self._log.exception("change not dealt with", seq=self._change.seq)
        self._answer.problems.add(f"change {self._change.seq}: {type(error).__name__}: {error}")
        return True

"""One synchronization of everything, for cron."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from trust_sync.feeds import FeedError, FollowedFeed
from trust_sync.worker.worker import Worker


class Progress(Protocol):
    """Receives the progress of a synchronization."""

    def begin(self, sources: int) -> None:
        """The synchronization begins. sources: how many sources there are."""

    def begin_source(self, source: str) -> None:
        """The next source begins."""

    def compare_anchors(self, done: int, total: int) -> None:
        """This many of the source's anchors have been compared."""

    def finish(self) -> None:
        """The last source has ended."""


class NoProgress:
    """Shows nothing."""

    def begin(self, sources: int) -> None:
        """Do nothing."""

    def begin_source(self, source: str) -> None:
        """Do nothing."""

    def compare_anchors(self, done: int, total: int) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Summary:
    """The result of a synchronization. watched: names with live sessions. failures: empty if all succeeded."""

    anchors: int
    added: int
    removed: int
    registries: int
    names: int
    watched: int
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The summary as `trust-sync once --json` prints it."""
        return dict(vars(self))


async def synchronize_once(worker: Worker, progress: Progress | None = None) -> Summary:
    """Compare every registry, refresh every name, and look up every name with live sessions."""
    progress = progress or NoProgress()
    before = set(worker.store.held.records)
    refresher = worker.discovery.refresher
    refresher.adopt_policy()
    names = list(worker.state.discovery.names)
    progress.begin(len(worker.all_feeds) + len(names) + 1)
    failures = await _synchronize_registries(worker, progress)
    if worker.standing is not None:
        progress.begin_source("standing of devices")
        failures += await _synchronize(worker.standing, "operations")
    for name in names:
        progress.begin_source(name)
        if problem := await refresher.refresh(name):
            failures.append(f"{name}: {problem}")
    progress.begin_source("live sessions")
    await worker.sessions.step()
    await worker.sessions.settle()
    worker.discovery.retirement.retire()
    await worker.save_state()
    progress.finish()
    after = set(worker.store.held.records)
    return Summary(
        anchors=len(after),
        added=len(after - before),
        removed=len(before - after),
        registries=len(worker.feeds),
        names=len(worker.state.discovery.names),
        watched=len(worker.sessions.watched_names),
        failures=[*failures, *_remaining_problems(worker)],
    )


async def _synchronize_registries(worker: Worker, progress: Progress) -> list[str]:
    """Compare every registry as a whole. Returns the failures."""
    failures = []
    for feed in worker.feeds:
        progress.begin_source(f"registry {feed.name}")
        feed.report_progress(progress.compare_anchors)
        failures += await _synchronize(feed, f"registry {feed.name}")
    return failures


async def _synchronize(feed: FollowedFeed, what: str) -> list[str]:
    """Compare a feed's whole state. Returns the failure, if there is one."""
    feed.position.seq = None
    try:
        await feed.step(0)
        feed.position.failures = 0
    except (FeedError, feed.storage_error) as error:
        return [f"{what}: {error}"]
    finally:
        await feed.close()
    return []


def _remaining_problems(worker: Worker) -> list[str]:
    """Problems that the state shows in the end."""
    problems = []
    if worker.state_error:
        problems.append(f"state: {worker.state_error}")
    if worker.sessions.error:
        problems.append(f"sessions: {worker.sessions.error}")
    pending = worker.state.sessions.pending.values()
    return [*problems, *(f"session of {item.session.name}: {item.last_reply}" for item in pending)]

"""Ends all live sessions of names that are no longer valid."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from trust_sync.sessions.accounting_database import AccountingUnavailable
from trust_sync.sessions.cache_flush import MODULE
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.fair_queue import FairQueue
from trust_sync.sessions.flush_scheduler import FlushScheduler
from trust_sync.sessions.live_sessions import LiveSessions
from trust_sync.sessions.monitor_mode import MonitorMode
from trust_sync.sessions.pending_terminations import PendingTerminations
from trust_sync.sessions.registry_map import RegistryMap
from trust_sync.sessions.session import Session
from trust_sync.sessions.validity import TerminationCause
from trust_sync.sessions.watch_list import WatchList
from trust_sync.shared import TimeSlice

_NAMES_PER_BATCH = 200
_RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class InvalidName:
    """A name whose sessions are to end. noticed: when that was noticed, in seconds since 1970."""

    name: str
    cause: TerminationCause
    noticed: float


@dataclass(frozen=True)
class TerminationParts:
    """What termination works with."""

    live: LiveSessions
    watch_list: WatchList
    flushes: FlushScheduler
    pending: PendingTerminations
    monitor_mode: MonitorMode
    registry_map: RegistryMap


class SessionTerminator:
    """Ends the sessions of names, in batches. Names that arrive during a batch form the next one."""

    def __init__(self, context: SessionContext, parts: TerminationParts) -> None:
        self._parts = parts
        self._metrics, self._log, self._wall = context.reporting.metrics, context.reporting.log, context.wall
        self._invalid: dict[str, InvalidName] = {}
        self._order = FairQueue()
        self._draining: asyncio.Task[None] | None = None

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The batch in progress."""
        return [self._draining] if self._draining else []

    def terminate(self, invalid: InvalidName) -> None:
        """Have all sessions of a name ended."""
        self._invalid[invalid.name] = invalid
        self._order.put(self._parts.registry_map.queue_key(invalid.name), invalid.name)
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="end names")

    async def _drain(self) -> None:
        try:
            while self._invalid:
                size = min(len(self._invalid), _NAMES_PER_BATCH)
                batch = [self._invalid.pop(self._order.pop()) for _ in range(size)]
                try:
                    await self._terminate_batch({invalid.name: invalid for invalid in batch})
                except AccountingUnavailable as error:
                    self._look_up_again(batch, error)
                except Exception:
                    self._log.exception("termination of sessions failed")
                    self._look_up_again(batch, AccountingUnavailable("internal error"))
        finally:
            self._draining = None

    def _look_up_again(self, batch: Sequence[InvalidName], error: AccountingUnavailable) -> None:
        """Look the names of a batch up again soon, as their sessions could not be read."""
        self._parts.live.report_unavailable(error)
        for invalid in batch:
            self._parts.watch_list.reschedule(invalid.name, self._wall() + _RETRY_SECONDS)

    async def _terminate_batch(self, batch: dict[str, InvalidName]) -> None:
        """Raises AccountingUnavailable."""
        # The module must not admit these devices again from its cache.
        await self._parts.flushes.names(list(batch), caches=(MODULE,))
        sessions: dict[str, list[Session]] = {name: [] for name in batch}
        for session in await self._parts.live.of(list(batch)):
            if session.name in sessions:
                sessions[session.name].append(session)
        pace = TimeSlice()
        for name, of_name in sessions.items():
            await pace.rest()
            self._terminate_sessions(batch[name], of_name)
            if batch[name].cause is TerminationCause.ABSENT:
                self._parts.watch_list.forget_records(name)
        self._parts.pending.send()

    def _terminate_sessions(self, invalid: InvalidName, sessions: Sequence[Session]) -> None:
        now, pending, monitor_mode = self._wall(), self._parts.pending, self._parts.monitor_mode
        for session in sessions:
            item = pending.get(session)
            if item is not None and item.access is not None:
                pending.end_instead_of_moving(item, invalid.cause)
        new = [
            session
            for session in sessions
            if pending.get(session) is None
            and not pending.has_ended(session, now)
            and not monitor_mode.exempts(session, invalid.cause, now)
        ]
        if new:
            self._metrics.revocations.labels(invalid.cause).inc()
            self._log.warning("ending sessions", name=invalid.name, cause=str(invalid.cause), sessions=len(new))
        for session in new:
            pending.add(session, invalid.cause, invalid.noticed)

"""Moves or ends the live sessions of devices whose standing has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dane_radius.core import is_enforced
from dane_radius.local import maker_domains
from policy import DeviceStanding, Match
from trust_sync.sessions.access_changes import AccessChanges
from trust_sync.sessions.accounting_database import AccountingUnavailable
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.live_sessions import LiveSessions
from trust_sync.sessions.monitor import RevocationMonitor
from trust_sync.sessions.recent_changes import RecentChanges, StandingChange, place_of
from trust_sync.sessions.session import Session
from trust_sync.sessions.standing_ends import StandingEnds
from trust_sync.sessions.unknown_facts import depends_on_unknown, may_matter
from trust_sync.sessions.validity import TerminationCause
from trust_sync.sessions.watch_list import WatchList
from trust_sync.shared import StandingNotice, TimeSlice

_RETRY_SECONDS = 1.0
# Changes that wait for accounting. Beyond that, every live session is looked at instead.
_MAX_WAITING = 1000


class StandingChanges:
    """Applies changes of standing to live sessions."""

    def __init__(
        self,
        context: SessionContext,
        watch_list: WatchList,
        live: LiveSessions,
        monitor: RevocationMonitor,
        changes: AccessChanges,
    ) -> None:
        self._context, self._watch_list, self._live, self._monitor = context, watch_list, live, monitor
        self._changes = changes
        self._waiting: list[StandingChange] = []
        self._retrying: asyncio.Task[None] | None = None
        self._recent, self._ends = RecentChanges(), StandingEnds(context.standing_of)
        self._late: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        monitor.on_poll, monitor.on_step = self._polled, self._stepped

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is in progress, apart from waiting for accounting."""
        return [task for task in (self._late, self._ending) if task is not None]

    @property
    def waiting(self) -> int:
        """The number of changes that wait for accounting."""
        return len(self._waiting)

    async def standing_changed(self, notice: StandingNotice) -> bool:
        """Move or end each session whose grant is another one now.

        Returns whether that has begun. While accounting cannot be read, it is tried again.
        """
        if not self._live.configured:
            return True
        now = self._context.wall()
        change = StandingChange.of(notice, now)
        names = {name: self._ends.replaced(name, before) for name, before in change.names.items()}
        return await self._begin(replace(change, names=names))

    async def _begin(self, change: StandingChange) -> bool:
        self._recent.add(change)
        if not self._waiting:
            try:
                await self._apply(change)
                return True
            except AccountingUnavailable as error:
                self._live.report_unavailable(error)
        self._waiting.append(change)
        if len(self._waiting) > _MAX_WAITING:
            everything = StandingNotice((), (), lambda _name, _now: None, everything=True, told=False)
            self._waiting = [StandingChange.of(everything, change.changed)]
        if self._retrying is None:
            self._retrying = asyncio.create_task(self._retry(), name="standing of sessions")
        return False

    async def _retry(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_RETRY_SECONDS)
                try:
                    while self._waiting:
                        await self._apply(self._waiting[0])
                        del self._waiting[0]
                except AccountingUnavailable as error:
                    self._live.report_unavailable(error)
                except Exception:
                    self._context.reporting.log.exception("change of standing not applied to live sessions")
                    del self._waiting[:1]
        finally:
            self._retrying = None

    async def _apply(self, change: StandingChange) -> None:
        """Apply a change to the sessions that accounting shows. Raises AccountingUnavailable."""
        names = await self._names(change.notice)
        for name in names:
            self._ends.watch(name, self._context.wall())
        await self._apply_to(change, await self._live.of(names))

    async def _names(self, notice: StandingNotice) -> Sequence[str]:
        """The names with live sessions that a notice is about. Raises AccountingUnavailable."""
        names = set(await self._live.select(notice.names)) if notice.names else set()
        if notice.domains or notice.everything:
            await self._monitor.poll(self._context.wall())
            domains = set(notice.domains)
            names.update(
                name
                for name in self._watch_list.names
                if notice.everything or not domains.isdisjoint(maker_domains(name))
            )
        return sorted(names)

    async def _apply_to(self, change: StandingChange, sessions: Iterable[Session]) -> None:
        """Move or end those of the sessions whose access a change has changed."""
        pace, reporting = TimeSlice(), self._context.reporting
        for session in sessions:
            await pace.rest()
            if session.unique_id in change.done:
                continue
            after = self._new_access(session, change.before(session.name))
            if after is None:
                continue
            change.done[session.unique_id] = session
            reporting.metrics.revocations.labels(TerminationCause.STANDING).inc()
            reporting.log.warning(
                "standing changed: session gets other access, or ends",
                name=session.name, nas=session.nas, station=session.station,
                zone=after.zone, refusal=str(after.refusal) if after.refusal else None,
            )  # fmt: skip
        self._changes.send()

    def _new_access(self, session: Session, old: DeviceStanding | None) -> Match | None:
        """Have a session moved or ended, if that is necessary. Returns what it gets instead. None: nothing is done."""
        now, facts, policy = self._context.wall(), session.request_facts(), self._context.policy()
        new = self._context.standing_of(session.name)
        before = policy.match(session.name, facts, old, now=now)
        after = policy.match(session.name, facts, new, now=now)
        if before.grant is None and policy.is_monitored(before.rule):
            # Admitted by monitor mode alone, which ends nothing but what the module refuses in this mode, too.
            enforced = after.grant is None and is_enforced(after)
            applied = enforced and self._changes.end(session, TerminationCause.STANDING)
        elif before.grant is None or depends_on_unknown(policy, session.name, facts, (old, new), now):
            # Another rule may apply than these facts suggest. Only the module can say what the device gets now.
            applied = may_matter(old, new, policy) and self._changes.end(session, TerminationCause.STANDING)
        else:
            applied = self._changes.apply(session, before, after, TerminationCause.STANDING)
        return after if applied else None

    def _stepped(self, now: float) -> None:
        """Time has passed: standings may have ended."""
        due = self._ends.take_due(now)
        if due:
            notice = StandingNotice(tuple(due), (), lambda name, _now: due.get(name))
            before = self._ending
            self._ending = asyncio.create_task(
                self._end(StandingChange.of(notice, now), before), name="ends of standing"
            )

    async def _end(self, change: StandingChange, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._begin(change)
        finally:
            if self._ending is asyncio.current_task():
                self._ending = None

    def _polled(self, names: Sequence[str]) -> None:
        """Accounting was read. A recent change may be about sessions that it shows only now."""
        self._recent.expire(self._context.wall())
        if self._late is None:
            self._late = asyncio.create_task(self._look_again(names), name="late sessions")

    async def _look_again(self, names: Sequence[str]) -> None:
        try:
            live, pace = set(names), TimeSlice()
            self._ends.keep(live)
            concerned = self._recent.concerned(live)
            about_others = [change for change in self._recent if change.is_about_others]
            for name in names:
                await pace.rest()
                self._ends.watch(name, self._context.wall())
                if any(change.concerns(name) for change in about_others):
                    concerned.add(name)
            if concerned:
                await self._apply_late(await self._live.of(sorted(concerned)))
        except AccountingUnavailable as error:
            # The changes stay remembered, and the next poll looks again.
            self._live.report_unavailable(error)
        finally:
            self._late = None

    async def _apply_late(self, sessions: Sequence[Session]) -> None:
        """Apply recent changes to sessions by an older standing. What a later change was applied to has a newer one."""
        settled: set[str] = set()
        renewed: set[tuple[str, str, str]] = set()
        for change in reversed(self._recent):
            renewed |= change.renewed(self._changes.acknowledged)
            late = [
                session
                for session in sessions
                if session.unique_id not in settled
                and change.concerns(session.name)
                and not change.began_after(session)
                and place_of(session) not in renewed
            ]
            await self._apply_to(change, late)
            settled |= change.done.keys()

    def close(self) -> None:
        """Give up what waits."""
        for task in (self._retrying, self._late, self._ending):
            if task is not None:
                task.cancel()

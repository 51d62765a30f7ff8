"""Moves or ends the live sessions of devices whose standing has changed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from dane_radius.core import is_enforced
from dane_radius.local import maker_domains
from policy import DeviceStanding, Policy, Standing
from trust_sync.sessions.access_changes import AccessChanges
from trust_sync.sessions.accounting_database import AccountingUnavailable
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.live_sessions import LiveSessions
from trust_sync.sessions.monitor import RevocationMonitor
from trust_sync.sessions.session import Session
from trust_sync.sessions.validity import TerminationCause
from trust_sync.sessions.watch_list import WatchList
from trust_sync.shared import StandingNotice, TimeSlice

_RETRY_SECONDS = 1.0
# Notices that wait for accounting. Beyond that, every live session is looked at instead.
_MAX_WAITING = 1000
# A session that was admitted before a change may appear in accounting only after it. A change applies to it if the
# session began at most so long after the change, and appears within the time for which the change is remembered.
_LATE_SECONDS, _REMEMBERED_SECONDS = 10.0, 120.0
_MAX_REMEMBERED = 10_000


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
        self._waiting: list[StandingNotice] = []
        self._retrying: asyncio.Task[None] | None = None
        # Changed names without an active session: when they changed, and what counted before.
        self._remembered: OrderedDict[str, tuple[float, DeviceStanding | None]] = OrderedDict()
        self._late: asyncio.Task[None] | None = None
        monitor.on_poll = self._polled

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is in progress, apart from waiting for accounting."""
        return [self._late] if self._late is not None else []

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
        if not self._waiting:
            try:
                await self._apply(notice)
                return True
            except AccountingUnavailable as error:
                self._live.report_unavailable(error)
        self._waiting.append(notice)
        if len(self._waiting) > _MAX_WAITING:
            self._waiting = [StandingNotice((), (), lambda _name, _now: None, everything=True)]
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

    async def _apply(self, notice: StandingNotice) -> None:
        """Raises AccountingUnavailable."""
        now = self._context.wall()
        names = await self._names(notice)
        sessions = await self._live.of(names)
        # Accounting may still show a session that its NAS has ended, and not yet the one that follows it.
        active = {session.name for session in sessions if not self._changes.has_ended(session)}
        self._remember((name for name in notice.names if name not in active), notice, now)
        await self._apply_to(sessions, {name: notice.before(name, now) for name in names})

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

    async def _apply_to(self, sessions: Iterable[Session], earlier: dict[str, DeviceStanding | None]) -> set[str]:
        """Move or end sessions. earlier: what counted before, by name. Returns the names of those sessions."""
        changed: set[str] = set()
        policy, reporting, pace = self._context.policy(), self._context.reporting, TimeSlice()
        for session in sessions:
            await pace.rest()
            now, facts = self._context.wall(), session.request_facts()
            old, new = earlier.get(session.name), self._context.standing_of(session.name)
            before = policy.match(session.name, facts, old, now=now)
            after = policy.match(session.name, facts, new, now=now)
            if before.grant is None and policy.is_monitored(before.rule):
                # Admitted by monitor mode alone, which ends nothing but what the module refuses in this mode, too.
                enforced = after.grant is None and is_enforced(after)
                applied = enforced and self._changes.end(session, TerminationCause.STANDING)
            elif before.grant is None:
                # The device was admitted, so a rule applies that depends on what accounting does not store, such as
                # NAS-Identifier. Only the module can say what it gets now.
                applied = _may_matter(old, new, policy) and self._changes.end(session, TerminationCause.STANDING)
            else:
                applied = self._changes.apply(session, before, after, TerminationCause.STANDING)
            if applied:
                changed.add(session.name)
                reporting.metrics.revocations.labels(TerminationCause.STANDING).inc()
                reporting.log.warning(
                    "standing changed: session gets other access, or ends",
                    name=session.name, nas=session.nas, station=session.station,
                    zone=after.zone, refusal=str(after.refusal) if after.refusal else None,
                )  # fmt: skip
        self._changes.send()
        return changed

    def _remember(self, names: Iterable[str], notice: StandingNotice, now: float) -> None:
        for name in names:
            self._remembered[name] = now, notice.before(name, now)
            self._remembered.move_to_end(name)
        while len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def _polled(self, names: Sequence[str]) -> None:
        """Accounting was read. A recent change may be about sessions that it shows only now."""
        if not self._remembered or self._late is not None:
            return
        now = self._context.wall()
        for name, (changed, _) in list(self._remembered.items()):
            if not 0 <= now - changed <= _REMEMBERED_SECONDS:
                del self._remembered[name]
        live = [name for name in names if name in self._remembered]
        if live:
            self._late = asyncio.create_task(self._apply_late(live), name="late sessions")

    async def _apply_late(self, names: Sequence[str]) -> None:
        try:
            found = {name: self._remembered[name] for name in names if name in self._remembered}
            late = [
                session
                for session in await self._live.of(list(found))
                if session.started is None or session.started <= found[session.name][0] + _LATE_SECONDS
            ]
            # Once is enough: the session after this one is by the new standing.
            for name in await self._apply_to(late, {name: before for name, (_, before) in found.items()}):
                self._remembered.pop(name, None)
        except AccountingUnavailable as error:
            self._live.report_unavailable(error)
        finally:
            self._late = None

    def close(self) -> None:
        """Give up what waits."""
        for task in (self._retrying, self._late):
            if task is not None:
                task.cancel()


def _may_matter(old: DeviceStanding | None, new: DeviceStanding | None, policy: Policy) -> bool:
    """Whether a device's access may depend on the difference. To be watched changes nothing of it."""
    old, new = old or DeviceStanding(), new or DeviceStanding()
    if any(rule.approval for rule in policy.rules) and old.approved != new.approved:
        return True
    harmless = (Standing.NORMAL, Standing.WATCHED)
    if old.standing in harmless and new.standing in harmless:
        return old.zone != new.zone
    return (old.standing, old.zone) != (new.standing, new.zone)

"""Ends or moves the sessions whose access changes with a new policy."""

from __future__ import annotations

from dataclasses import replace

from policy import Grant, Policy
from trust_sync.sessions.accounting_database import AccountingUnavailable
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.disconnector import Disconnector
from trust_sync.sessions.live_sessions import LiveSessions
from trust_sync.sessions.monitor import RevocationMonitor
from trust_sync.sessions.monitor_mode import MonitorMode
from trust_sync.sessions.nas_directory import Nas
from trust_sync.sessions.pending_terminations import PendingTerminations
from trust_sync.sessions.session import Session
from trust_sync.sessions.validity import TerminationCause
from trust_sync.sessions.watch_list import WatchList
from trust_sync.shared import TimeSlice


class PolicyChangeHandler:
    """Applies a new policy to live sessions."""

    def __init__(
        self,
        context: SessionContext,
        watch_list: WatchList,
        live: LiveSessions,
        monitor: RevocationMonitor,
        pending: PendingTerminations,
        monitor_mode: MonitorMode,
        disconnector: Disconnector,
    ) -> None:
        self._watch_list, self._live, self._monitor = watch_list, live, monitor
        self._pending, self._monitor_mode, self._disconnector = pending, monitor_mode, disconnector
        self._wall = context.wall

    async def policy_changed(self, old: Policy, new: Policy) -> None:
        """End, or move to another VLAN, each session that has another grant under the new policy."""
        # The names that only the old policy covered.
        names = set(self._watch_list.names)
        await self._monitor.poll(self._wall())
        try:
            sessions = await self._live.of(sorted(names | set(self._watch_list.names)))
        except AccountingUnavailable as error:
            self._live.report_unavailable(error)
            return
        pace = TimeSlice()
        for session in sessions:
            await pace.rest()
            before, after = _grant(old, session), _grant(new, session)
            if before is not None and before != after:
                self._apply(session, before, after)

    def _apply(self, session: Session, before: Grant, after: Grant | None) -> None:
        now, cause = self._wall(), TerminationCause.POLICY
        if after is None and self._monitor_mode.exempts(session, cause, now):
            return
        vlan = _changed_vlan(self._disconnector.directory.find(session.nas), before, after)
        item = self._pending.get(session)
        if item is None:
            self._pending.add(session, cause, now, vlan)
            self._pending.send()
        elif item.vlan is not None:
            item.vlan = vlan


def _changed_vlan(nas: Nas | None, before: Grant, after: Grant | None) -> str | None:
    """The new VLAN, if nothing else changes and the NAS accepts CoA-Requests. None: the session must end."""
    if nas is None or not nas.coa or after is None or after.vlan is None:
        return None
    return str(after.vlan) if replace(before, vlan=after.vlan) == after else None


def _grant(policy: Policy, session: Session) -> Grant | None:
    return policy.match(session.name, session.request_facts()).grant

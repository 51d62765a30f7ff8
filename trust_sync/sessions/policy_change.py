"""Ends or moves the sessions whose access changes with a new policy."""

from __future__ import annotations

from policy import Policy
from trust_sync.sessions.access_changes import AccessChanges
from trust_sync.sessions.accounting_database import AccountingUnavailable
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.live_sessions import LiveSessions
from trust_sync.sessions.monitor import RevocationMonitor
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
        changes: AccessChanges,
    ) -> None:
        self._context, self._watch_list, self._live, self._monitor = context, watch_list, live, monitor
        self._changes = changes

    async def policy_changed(self, old: Policy, new: Policy) -> None:
        """End, or move to another zone, each session that has another grant under the new policy."""
        # The names that only the old policy covered.
        names = set(self._watch_list.names)
        await self._monitor.poll(self._context.wall())
        try:
            sessions = await self._live.of(sorted(names | set(self._watch_list.names)))
        except AccountingUnavailable as error:
            self._live.report_unavailable(error)
            return
        pace = TimeSlice()
        for session in sessions:
            await pace.rest()
            now, facts = self._context.wall(), session.request_facts()
            standing = self._context.standing_of(session.name)
            before = old.match(session.name, facts, standing, now=now)
            after = new.match(session.name, facts, standing, now=now)
            if self._changes.apply(session, before, after, TerminationCause.POLICY):
                self._changes.send()

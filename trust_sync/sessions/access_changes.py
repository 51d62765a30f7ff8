"""Moves or ends a session whose access has changed."""

from __future__ import annotations

from dane_radius.core import is_enforced
from policy import Match
from trust_sync.sessions.access import Access, changed_access
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.disconnector import Disconnector
from trust_sync.sessions.monitor_mode import MonitorMode
from trust_sync.sessions.pending_terminations import PendingTerminations
from trust_sync.sessions.session import Session
from trust_sync.sessions.validity import TerminationCause


class AccessChanges:
    """Queues the requests for sessions whose grant is another one now. `send` begins with them."""

    def __init__(
        self,
        context: SessionContext,
        pending: PendingTerminations,
        monitor_mode: MonitorMode,
        disconnector: Disconnector,
    ) -> None:
        self._pending, self._monitor_mode, self._disconnector = pending, monitor_mode, disconnector
        self._wall = context.wall

    def apply(self, session: Session, before: Match, after: Match, cause: TerminationCause) -> bool:
        """Have a session moved or ended, if its grant has changed. Returns whether that is so.

        A session without a grant before is none of policy's.
        """
        if before.grant is None or before.grant == after.grant:
            return False
        now = self._wall()
        if after.grant is None and not is_enforced(after) and self._monitor_mode.exempts(session, cause, now):
            return False
        access = changed_access(self._disconnector.directory.find(session.nas), before, after, now)
        return self._queue(session, cause, now, access)

    def acknowledged(self, session: Session) -> float | None:
        """When the NAS confirmed that it moved or ended a session, in seconds since 1970. None: it did not."""
        return self._pending.acknowledged(session)

    def end(self, session: Session, cause: TerminationCause) -> bool:
        """Have a session ended. Returns whether that is necessary."""
        return self._queue(session, cause, self._wall(), None)

    def _queue(self, session: Session, cause: TerminationCause, now: float, access: Access | None) -> bool:
        item = self._pending.get(session)
        if item is None:
            if self._pending.has_ended(session, now):
                return False
            self._pending.add(session, cause, now, access)
        elif item.access is not None:
            item.access = access
        return True

    def send(self) -> None:
        """Begin with the requests."""
        self._pending.send()

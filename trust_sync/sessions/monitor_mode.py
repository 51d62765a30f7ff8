"""Exempts sessions from termination where policy only monitors."""

from __future__ import annotations

from dane_radius.local import RecentlySeen
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.session import Session
from trust_sync.sessions.validity import TerminationCause

# The least time between log lines about one exempt session.
_LOG_INTERVAL_SECONDS = 3600.0
_MAX_REMEMBERED = 100_000


class MonitorMode:
    """Decides whether a session is exempt. The module would admit its device again at once."""

    def __init__(self, context: SessionContext) -> None:
        self._policy, self._log, self._standing_of = context.policy, context.reporting.log, context.standing_of
        self._logged = RecentlySeen(_LOG_INTERVAL_SECONDS, _MAX_REMEMBERED)

    def exempts(self, session: Session, cause: TerminationCause, now: float) -> bool:
        """Whether policy only monitors where the session is. If so, the log says that it would be ended."""
        policy = self._policy()
        match = policy.match(session.name, session.request_facts(), self._standing_of(session.name), now=now)
        if not policy.is_monitored(match.rule):
            return False
        if (session.unique_id, now) not in self._logged:
            self._logged.add(session.unique_id, now)
            self._log.warning(
                "session would be ended, but policy only monitors",
                name=session.name, nas=session.nas, station=session.station, cause=str(cause),
            )  # fmt: skip
        return True

"""The live sessions as the operations service gets them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from policy import ssid_of
from trust_sync.reports import LiveSession
from trust_sync.sessions import AccountingUnavailable, Session, SessionService


class SessionLister:
    """Lists live sessions. Without an accounting database, there are none to report."""

    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions

    async def list(self) -> Sequence[LiveSession] | None:
        """The live sessions of devices. None: they are not known."""
        if not self._sessions.configured:
            return None
        try:
            return [_reported(session) for session in await self._sessions.live_sessions()]
        except AccountingUnavailable:
            # The monitor of sessions reports it.
            return None


def _reported(session: Session) -> LiveSession:
    since = None
    if session.started is not None:
        since = datetime.fromtimestamp(session.started, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return LiveSession(
        session.unique_id, session.name, session.station, session.nas, ssid_of(session.called_station), since
    )

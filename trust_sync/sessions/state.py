"""What is remembered of sessions over a restart. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from trust_sync.sessions.access import Access
from trust_sync.sessions.session import Session
from trust_sync.sessions.validity import TerminationCause


@dataclass
class PendingTermination:
    """A session that is to be ended, or given other access.

    noticed: when its cause was noticed. due: when the next request is sent. Both are seconds since 1970. access: what
    the session gets; None: it is ended.
    """

    session: Session
    cause: TerminationCause
    noticed: float
    due: float
    attempts: int = 0
    last_reply: str = ""
    access: Access | None = None


@dataclass
class SessionState:
    """pending: by unique session ID. records: the TLSA records last seen of each name with live sessions, as text."""

    pending: dict[str, PendingTermination] = field(default_factory=dict)
    records: dict[str, list[str]] = field(default_factory=dict)

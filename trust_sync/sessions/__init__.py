"""Live sessions: which names have them, whether these names are still valid, and the end of sessions if not.

Pure: `session`, `access`, `state`, `validity`, `watch_list`, `lookup_queue`, `fair_queue`, `nas_queue`, `registry_map`,
`recent_notices`, `radius`. Database: `accounting_database`. Sockets: `nas_socket`, `cache_flush`. `service` assembles
the parts. May import `shared`, `dane_radius.core`, `dane_radius.local` and `policy`.
"""

from trust_sync.sessions.access import Access
from trust_sync.sessions.accounting_database import AccountingDatabase, AccountingUnavailable, open_accounting
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.metrics import SessionMetrics
from trust_sync.sessions.service import SessionService
from trust_sync.sessions.session import Session
from trust_sync.sessions.state import PendingTermination, SessionState
from trust_sync.sessions.validity import TerminationCause

__all__ = [
    "Access",
    "AccountingDatabase",
    "AccountingUnavailable",
    "PendingTermination",
    "Session",
    "SessionContext",
    "SessionMetrics",
    "SessionService",
    "SessionState",
    "TerminationCause",
    "open_accounting",
]

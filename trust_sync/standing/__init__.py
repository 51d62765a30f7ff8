"""The standing of devices: what the operations service says goes into the journal that the module reads.

Pure: `messages`. Disk: `journal`, `snapshot`. Socket: `module_socket`. `feed` joins them. May import `shared`, `feeds`,
`policy`, `dane_radius.core` and `dane_radius.local`.
"""

from trust_sync.standing.feed import StandingFeed, StandingListener
from trust_sync.standing.journal import JournalError, StandingJournal
from trust_sync.standing.metrics import StandingMetrics
from trust_sync.standing.module_socket import ModuleSocket

__all__ = [
    "JournalError",
    "ModuleSocket",
    "StandingFeed",
    "StandingJournal",
    "StandingListener",
    "StandingMetrics",
]

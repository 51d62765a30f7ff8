"""Anchors that nobody configured: found through the DNS when a device connects, refreshed, and retired.

Pure: `candidates`, `addresses`, `reasons`, `outcome`, `state`. Network: `fetch`, and DNS lookups in `search` and
`refresh`. Store: `installer`, `retirement`. May import `shared`, `anchors`, `dane_radius.core`, `dane_radius.local` and
`policy`.
"""

from trust_sync.discovery.context import DiscoveryContext
from trust_sync.discovery.installer import DryRun
from trust_sync.discovery.metrics import DiscoveryMetrics
from trust_sync.discovery.outcome import Outcome
from trust_sync.discovery.reasons import DiscoveryStatus, Reason
from trust_sync.discovery.search import AnchorSearch
from trust_sync.discovery.service import DiscoveryService, build_fetcher
from trust_sync.discovery.state import DiscoveredName, DiscoveryState

__all__ = [
    "AnchorSearch",
    "DiscoveredName",
    "DiscoveryContext",
    "DiscoveryMetrics",
    "DiscoveryService",
    "DiscoveryState",
    "DiscoveryStatus",
    "DryRun",
    "Outcome",
    "Reason",
    "build_fetcher",
]

"""Anchors and notices from IoT registries: each registry's snapshot and change feed, over HTTPS.

Pure: `messages`, `json_stream`, `published_anchor`, `changes`, `schedule`, `memory_budget`, `log_limit`, `state`.
Network: `client`. Store: `anchor_sync`, `change_processor`. `feed` joins them. May import `shared`, `anchors`,
`dane_radius.core` and `dane_radius.local`.
"""

from trust_sync.registries.feed import NoticeListener, RegistryFeed
from trust_sync.registries.memory_budget import MemoryBudget
from trust_sync.registries.messages import FeedError
from trust_sync.registries.metrics import RegistryMetrics
from trust_sync.registries.state import FeedPosition

__all__ = ["FeedError", "FeedPosition", "MemoryBudget", "NoticeListener", "RegistryFeed", "RegistryMetrics"]

"""Anchors and notices from IoT registries: what each registry's snapshot and changes mean.

Pure: `messages`, `published_anchor`, `changes`. Store: `anchor_sync`, `change_processor`. `feed` joins them. May import
`shared`, `feeds`, `anchors`, `dane_radius.core` and `dane_radius.local`.
"""

from trust_sync.registries.feed import NoticeListener, RegistryFeed
from trust_sync.registries.metrics import RegistryMetrics

__all__ = ["NoticeListener", "RegistryFeed", "RegistryMetrics"]

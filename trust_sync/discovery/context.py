"""What discovery and refresh both use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from policy import Policy
from trust_sync.anchors import HeldAnchors
from trust_sync.shared import DiscoveryConfig, DnsClient


@dataclass(frozen=True)
class DiscoveryContext:
    """Configuration, policy in force, anchors held, DNS and clock. wall: seconds since 1970."""

    config: DiscoveryConfig
    policy: Callable[[], Policy]
    held: HeldAnchors
    dns: DnsClient
    wall: Callable[[], float] = time.time

    def now(self) -> datetime:
        """The time, for comparison with certificate dates."""
        return datetime.fromtimestamp(self.wall(), UTC)

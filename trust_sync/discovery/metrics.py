"""Metrics of discovery and refresh."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trust_sync.anchors import DISCOVERED
from trust_sync.discovery.reasons import DiscoveryStatus, Reason

_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


class DiscoveryMetrics:
    """Discoveries by outcome, refreshes, and what is left to be refreshed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.refreshed = Gauge(
            "trust_sync_refresh_last_success_seconds",
            "When something discovered was last refreshed, by its source, in seconds since 1970; 0: never.",
            ["source"],
            registry=registry,
        )
        self.refresh_failures = Counter(
            "trust_sync_refresh_failures",
            "Failed refreshes of discovered anchors, by reason. The anchors stay in force.",
            ["reason"],
            registry=registry,
        )
        self.names = Gauge(
            "trust_sync_names_tended", "Names whose anchors are refreshed on schedule.", registry=registry
        )
        self.unbacked = Gauge(
            "trust_sync_anchors_unbacked",
            "Discovered anchors to which no known name leads; they are removed after retire_after.",
            registry=registry,
        )
        self.discoveries = Counter(
            "trust_sync_discoveries", "Discoveries, by outcome.", ["state", "reason"], registry=registry
        )
        self.seconds = Histogram(
            "trust_sync_discovery_seconds",
            "Duration of discoveries that needed a lookup.",
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )
        self._create_series()

    def _create_series(self) -> None:
        """Create every series, so that each exists from the start."""
        for source in DISCOVERED:
            self.refreshed.labels(source)
        for reason in Reason:
            match reason:
                case Reason.INSTALLED:
                    status = DiscoveryStatus.FOUND
                case Reason.ANCHOR_KNOWN:
                    status = DiscoveryStatus.KNOWN
                case Reason.STILL_LOOKING:
                    continue
                case _:
                    status = DiscoveryStatus.REFUSED
            self.discoveries.labels(status, reason)
            if status is DiscoveryStatus.REFUSED:
                self.refresh_failures.labels(reason)

"""Metrics of the anchor store."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from dane_radius.core import AnchorSource


class AnchorMetrics:
    """The anchors in force, and failed writes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.anchors = Gauge("trust_sync_anchors", "Trust anchors in force, by source.", ["source"], registry=registry)
        self.expired = Gauge(
            "trust_sync_anchors_expired", "Anchors in force whose certificate has expired.", registry=registry
        )
        self.write_failures = Counter(
            "trust_sync_store_failures",
            "Changes of the anchor store or the state file that failed (disk full).",
            registry=registry,
        )
        for source in AnchorSource:
            self.anchors.labels(source)

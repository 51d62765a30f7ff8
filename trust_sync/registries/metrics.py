"""Metrics of registries."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from trust_sync.feeds import FeedMetrics

_REFUSALS = ("not_a_certificate", "not_a_ca", "too_complex", "outside_domain", "shadows", "too_many")


class RegistryMetrics:
    """Refused anchors. feeds: the metrics of all feeds."""

    def __init__(self, registry: CollectorRegistry, feeds: FeedMetrics) -> None:
        self.feeds = feeds
        self.refused = Counter(
            "trust_sync_anchors_refused",
            "Anchors of registries that were not installed, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in _REFUSALS:
            self.refused.labels(reason)

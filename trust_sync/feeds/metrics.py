"""Metrics of the feeds that are followed."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

# Labels of failures. All but "store" and "internal" are reasons of a FeedError.
FAILURES = ("connect", "tls", "timeout", "status", "unauthorized", "malformed", "too_large", "store", "internal")


class FeedMetrics:
    """Successes and failures by source."""

    def __init__(self, registry: CollectorRegistry, names: Sequence[str]) -> None:
        """names: the configured sources, so that every series exists from the start."""
        self.last_success = Gauge(
            "trust_sync_source_last_success_seconds",
            "When a source was last followed successfully, in seconds since 1970; 0: never.",
            ["source"],
            registry=registry,
        )
        self.failures = Counter(
            "trust_sync_source_failures",
            "Failed requests to a source, by reason.",
            ["source", "reason"],
            registry=registry,
        )
        for name in names:
            self.last_success.labels(name)
            for failure in FAILURES:
                self.failures.labels(name, failure)

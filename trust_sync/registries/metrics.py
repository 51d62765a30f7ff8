"""Metrics of the registries' feeds."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

# Labels of failures. All but "store" and "internal" are reasons of a FeedError.
FAILURES = ("connect", "tls", "timeout", "status", "unauthorized", "malformed", "too_large", "store", "internal")
_REFUSALS = ("not_a_certificate", "not_a_ca", "too_complex", "outside_domain", "shadows", "too_many")


class RegistryMetrics:
    """Successes and failures by registry, and refused anchors."""

    def __init__(self, registry: CollectorRegistry, names: Sequence[str]) -> None:
        """names: the configured registries, so that every series exists from the start."""
        self.last_success = Gauge(
            "trust_sync_source_last_success_seconds",
            "When a registry was last followed successfully, in seconds since 1970; 0: never.",
            ["source"],
            registry=registry,
        )
        self.failures = Counter(
            "trust_sync_source_failures",
            "Failed requests to a registry, by reason.",
            ["source", "reason"],
            registry=registry,
        )
        self.refused = Counter(
            "trust_sync_anchors_refused",
            "Anchors of registries that were not installed, by reason.",
            ["reason"],
            registry=registry,
        )
        for name in names:
            self.last_success.labels(name)
            for failure in FAILURES:
                self.failures.labels(name, failure)
        for reason in _REFUSALS:
            self.refused.labels(reason)

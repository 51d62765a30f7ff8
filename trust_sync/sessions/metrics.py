"""Metrics of live sessions and their termination."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from trust_sync.sessions.radius import Result
from trust_sync.sessions.validity import TerminationCause

_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0, 3600.0)


class SessionMetrics:
    """Revocations, requests to NASes, cache flushes and accounting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.revocations = Counter(
            "trust_sync_revocations",
            "Names whose live sessions were ended, by cause.",
            ["cause"],
            registry=registry,
        )
        self.revocation_seconds = Histogram(
            "trust_sync_revocation_seconds",
            "From the notice (feed event or lookup) to the NAS's acknowledgement.",
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )
        self.disconnects = Counter(
            "trust_sync_disconnects", "Disconnect- and CoA-Requests, by result.", ["result"], registry=registry
        )
        self.pending = Gauge("trust_sync_disconnects_pending", "Sessions that are to be ended.", registry=registry)
        self.watched = Gauge("trust_sync_names_watched", "Names with live sessions.", registry=registry)
        self.accounting_unavailable = Counter(
            "trust_sync_sessions_unavailable",
            "Times that the accounting database could not be read.",
            registry=registry,
        )
        self.flush_failures = Counter(
            "trust_sync_flush_failures",
            "Failed flushes of caches.",
            ["cache"],
            registry=registry,
        )
        for cause in TerminationCause:
            self.revocations.labels(cause)
        for result in Result:
            self.disconnects.labels(result)
        for cache in ("unbound", "module"):
            self.flush_failures.labels(cache)

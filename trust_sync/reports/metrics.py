"""Metrics of the reports to the operations service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class ReportMetrics:
    """Decisions and sessions that were reported, and what was lost."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reported = Counter(
            "trust_sync_decisions_reported", "Decisions that the operations service has taken.", registry=registry
        )
        self.lost = Counter(
            "trust_sync_decisions_lost",
            "Decisions that were never reported: refused by the service, or a part of the log was gone (at least one).",
            registry=registry,
        )
        self.failures = Counter(
            "trust_sync_report_failures", "Reports that failed and are repeated.", ["report"], registry=registry
        )
        self.last_success = Gauge(
            "trust_sync_report_last_success_seconds",
            "When the last report was taken, in seconds since 1970; 0: never.",
            ["report"],
            registry=registry,
        )
        for report in ("decisions", "sessions"):
            self.failures.labels(report)
            self.last_success.labels(report)

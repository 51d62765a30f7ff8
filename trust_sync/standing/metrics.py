"""Metrics of the standing journal."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from policy import Standing
from trust_sync.feeds import FeedMetrics
from trust_sync.standing.journal import StandingJournal


class StandingMetrics:
    """What the journal says. feeds: the metrics of all feeds."""

    def __init__(self, registry: CollectorRegistry, feeds: FeedMetrics) -> None:
        self.feeds = feeds
        self._devices = Gauge(
            "trust_sync_standing_devices", "Devices with an entry, by their standing.", ["standing"], registry=registry
        )
        self._makers = Gauge("trust_sync_standing_makers", "Makers with an entry.", registry=registry)
        self._kept = Gauge(
            "trust_sync_standing_kept",
            "Entries of an earlier service that stay in force although the present one does not confirm them.",
            registry=registry,
        )
        self.usable = Gauge(
            "trust_sync_standing_journal_usable", "1 if there is a journal that the module can read.", registry=registry
        )
        self.write_failures = Counter(
            "trust_sync_standing_write_failures", "Failed writes of the journal.", registry=registry
        )
        for standing in Standing:
            self._devices.labels(standing)

    def measure(self, journal: StandingJournal) -> None:
        """Set the gauges."""
        for standing, count in journal.standings.counts.items():
            self._devices.labels(standing).set(count)
        self._makers.set(journal.standings.makers)
        self._kept.set(journal.standings.kept)
        self.usable.set(journal.header is not None)

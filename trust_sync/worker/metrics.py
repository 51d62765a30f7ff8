"""All Prometheus metrics of the worker. Label values come from closed sets or from the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector

from dane_radius.core import AnchorSource
from trust_sync import __version__
from trust_sync.anchors import AnchorMetrics, HeldAnchors
from trust_sync.discovery import DiscoveryMetrics, DiscoveryState
from trust_sync.feeds import FeedMetrics
from trust_sync.registries import RegistryMetrics
from trust_sync.reports import ReportMetrics
from trust_sync.sessions import SessionMetrics
from trust_sync.standing import StandingMetrics


class Metrics:
    """The metrics of every room. Every series exists from the start."""

    def __init__(self, sources: Sequence[str]) -> None:
        """sources: the names of the configured feeds."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        info = Gauge("trust_sync_build_info", "Version of the worker.", ["version"], registry=self.registry)
        info.labels(__version__).set(1)
        self.anchors = AnchorMetrics(self.registry)
        feeds = FeedMetrics(self.registry, sources)
        self.registries = RegistryMetrics(self.registry, feeds)
        self.reports = ReportMetrics(self.registry)
        self.standing = StandingMetrics(self.registry, feeds)
        self.discovery = DiscoveryMetrics(self.registry)
        self.sessions = SessionMetrics(self.registry)

    def measure(self, held: HeldAnchors, discovered: DiscoveryState, now: datetime) -> None:
        """Set the gauges that count what is held at the moment."""
        counts = dict.fromkeys(AnchorSource, 0)
        expired = 0
        for record in held:
            counts[record.source] += 1
            expired += record.not_after < now
        for source, count in counts.items():
            self.anchors.anchors.labels(source).set(count)
        self.anchors.expired.set(expired)
        self.discovery.names.set(len(discovered.names))
        self.discovery.unbacked.set(len({key.partition(" ")[0] for key in discovered.unbacked}))

"""Assembles discovery and refresh, and reports what they found."""

from __future__ import annotations

from collections.abc import Callable, Collection

from dane_radius.dns import tls_context
from dane_radius.local import ConfigError
from trust_sync.anchors import AnchorMetrics, AnchorStore
from trust_sync.discovery.context import DiscoveryContext
from trust_sync.discovery.discoverer import Discoverer
from trust_sync.discovery.fetch import Fetcher
from trust_sync.discovery.installer import StoreInstaller
from trust_sync.discovery.metrics import DiscoveryMetrics
from trust_sync.discovery.outcome import Outcome
from trust_sync.discovery.reasons import DiscoveryStatus, Reason
from trust_sync.discovery.refresh import AnchorRefresher
from trust_sync.discovery.retirement import AnchorRetirement
from trust_sync.discovery.search import AnchorSearch
from trust_sync.discovery.state import DiscoveryState
from trust_sync.shared import DiscoveryConfig, DnsClient, Reporting


def build_fetcher(config: DiscoveryConfig, dns: DnsClient) -> Fetcher:
    """Make the HTTPS client that the configuration describes. Raises ConfigError if its CA file cannot be used."""
    try:
        context = tls_context(config.ca_file)
    except OSError as error:
        raise ConfigError(f"discovery.ca_file: {config.ca_file}: {error.strerror or error}") from error
    return Fetcher(dns.addresses, context, config.timeout, config.max_octets, config.allowed, config.port)


class DiscoveryService:
    """Discovery by hints, and the refresh of what it found. Both write to the store."""

    def __init__(
        self,
        context: DiscoveryContext,
        store: AnchorStore,
        state: DiscoveryState,
        live_names: Callable[[], Collection[str]],
        reporting: Reporting[DiscoveryMetrics],
        store_metrics: AnchorMetrics,
    ) -> None:
        """Raises ConfigError. live_names: the names that have live sessions."""
        self._metrics, self._log, self._store_metrics = reporting.metrics, reporting.log, store_metrics
        fetcher = build_fetcher(context.config, context.dns)
        search = AnchorSearch(context, fetcher, StoreInstaller(context.config, store, context.wall))
        self.discoverer = Discoverer(context, search, self._report)
        self.retirement = AnchorRetirement(context, store, state, live_names, reporting, store_metrics)
        self.refresher = AnchorRefresher(context, search, self.retirement, state, reporting)

    def _report(self, outcome: Outcome, seconds: float) -> None:
        """Count and log an outcome, and begin to refresh what was found."""
        self._metrics.discoveries.labels(outcome.status, outcome.reason).inc()
        if seconds > 0:
            self._metrics.seconds.observe(seconds)
            log = self._log.info if outcome.status is DiscoveryStatus.FOUND else self._log.warning
            log("discovery", **{**outcome.to_json(), "milliseconds": round(seconds * 1000, 1)})
        if outcome.reason is Reason.STORE_FAILED:
            self._store_metrics.write_failures.inc()
        self.refresher.remember(outcome)

"""Removes discovered anchors to which no known name has led for long enough."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from dane_radius.core import identity_domain
from trust_sync.anchors import AnchorMetrics, AnchorStore, Holding, StoreError, retire
from trust_sync.discovery.context import DiscoveryContext
from trust_sync.discovery.metrics import DiscoveryMetrics
from trust_sync.discovery.state import DiscoveryState
from trust_sync.shared import Reporting


@dataclass(frozen=True)
class AnchorRetirement:
    """Removes holdings from the store. live_names: the names that have live sessions."""

    context: DiscoveryContext
    store: AnchorStore
    state: DiscoveryState
    live_names: Callable[[], Collection[str]]
    reporting: Reporting[DiscoveryMetrics]
    store_metrics: AnchorMetrics

    def retire(self) -> None:
        """Remove the holdings to which no known name has led for `retire_after`."""
        now, retire_after = self.context.wall(), self.context.config.retire_after
        retirement = retire(
            self.context.held,
            self._backed(),
            {Holding(*key.split(" ", 1)): since for key, since in self.state.unbacked.items() if " " in key},
            {identity_domain(name) for name in self.live_names()},
            self.context.held.for_domain,
            now,
            retire_after,
        )
        self.state.unbacked = {str(holding): since for holding, since in retirement.unbacked.items()}
        for holding in retirement.ended:
            if not self.remove(holding):
                self.state.unbacked[str(holding)] = now - retire_after

    def _backed(self) -> set[Holding]:
        """The holdings to which a known name leads."""
        found = set()
        for name, item in self.state.names.items():
            for fingerprint in item.fingerprints:
                found |= {Holding(fingerprint, name), Holding(fingerprint, identity_domain(name))}
        return found

    def remove(self, holding: Holding) -> bool:
        """Remove a holding. Returns whether the store accepted that; if not, it is logged."""
        try:
            self.store.withdraw(holding.fingerprint, [holding.domain])
        except StoreError as error:
            self.store_metrics.write_failures.inc()
            self.reporting.log.error("anchor not removed", domain=holding.domain, error=str(error))
            return False
        self.reporting.log.info("anchor removed", domain=holding.domain, fingerprint=holding.fingerprint)
        return True

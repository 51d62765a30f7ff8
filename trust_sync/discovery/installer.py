"""Installs a candidate anchor in the store, within the limits for discovered anchors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from dane_radius.core import identity_domain
from trust_sync.anchors import AnchorStore, ShadowError, StoreError, TooManyDomainsError
from trust_sync.discovery.candidates import CandidateAnchor
from trust_sync.discovery.reasons import Reason
from trust_sync.shared import DiscoveryConfig


class Installer(Protocol):
    """Decides what happens with a candidate that passed every check."""

    def install(self, candidate: CandidateAnchor, name: str) -> tuple[Reason, str] | None:
        """Put a candidate in force that was found for `name`. Returns why that is refused, if it is."""


class DryRun:
    """Installs nothing, for `trust-sync discover`."""

    def install(self, candidate: CandidateAnchor, name: str) -> tuple[Reason, str] | None:
        """Accept every candidate."""
        del candidate, name
        return None


class StoreInstaller:
    """Installs candidates in the anchor store."""

    def __init__(self, config: DiscoveryConfig, store: AnchorStore, wall: Callable[[], float]) -> None:
        self._config, self._store, self._wall = config, store, wall

    def install(self, candidate: CandidateAnchor, name: str) -> tuple[Reason, str] | None:
        """Put a candidate in force. Returns why that is refused, if it is."""
        certificate = candidate.certificate
        if problem := self._limit_reached(certificate.fingerprint, identity_domain(name)):
            return Reason.TOO_MANY_ANCHORS, problem
        try:
            now = datetime.fromtimestamp(self._wall(), UTC)
            self._store.add(certificate, candidate.domains, candidate.source, now)
        except ShadowError as error:
            return Reason.SHADOWS, str(error)
        except TooManyDomainsError as error:
            return Reason.TOO_MANY_ANCHORS, str(error)
        except StoreError as error:
            return Reason.STORE_FAILED, str(error)
        return None

    def _limit_reached(self, fingerprint: str, domain: str) -> str | None:
        held = self._store.held
        if held.get(fingerprint) is not None:
            return None
        count, limits = held.count_discovered(domain), self._config
        if count >= limits.max_anchors_per_domain:
            return f"{domain} already has {count} discovered anchors"
        if held.discovered >= limits.max_anchors:
            return f"there are already {held.discovered} discovered anchors"
        return None

"""Applies what a registry publishes to the anchor store, within the registry's domains and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from dane_radius.core import AnchorSource, is_within
from trust_sync.anchors import AnchorStore, CertificateProblem, CertificateRefused, ShadowError
from trust_sync.feeds import LimitedLog, shortened
from trust_sync.registries.messages import AnchorMessage, SnapshotReader
from trust_sync.registries.metrics import RegistryMetrics
from trust_sync.registries.published_anchor import PublishedAnchor, outdated, read_anchor
from trust_sync.shared import RegistryConfig, Reporting, TimeSlice

ProgressReport = Callable[[int, int], None]


@dataclass(frozen=True)
class _Installed:
    """The result of a snapshot's additions.

    wanted: fingerprint and domain of each valid anchor. refused: valid anchors that could not be installed. unreadable:
    whether any anchor of the snapshot could not be read.
    """

    wanted: set[tuple[str, str]]
    refused: list[AnchorMessage]
    unreadable: bool


class AnchorSync:
    """The anchors of one registry in the store. Methods that change the store raise StoreError.

    on_progress: called with the number of a snapshot's anchors that were compared, and their total.
    """

    def __init__(
        self,
        config: RegistryConfig,
        store: AnchorStore,
        reporting: Reporting[RegistryMetrics],
        limited_log: LimitedLog,
        wall: Callable[[], float],
    ) -> None:
        self._config, self._store = config, store
        self._metrics, self._log, self._limited_log = reporting.metrics, reporting.log, limited_log
        self._wall = wall
        # Whether an anchor was refused because it would shadow another. A removal may make room for it.
        self._any_shadowed = False
        # The size of the store at which this response found the registry's limit exhausted.
        self._full_at: int | None = None
        self.on_progress: ProgressReport = lambda done, total: None

    def begin(self) -> None:
        """Begin with another response of the registry."""
        self._full_at = None

    async def replace(self, snapshot: SnapshotReader) -> int:
        """Install what a snapshot lists, and remove what it does not list. Returns how many anchors it lists."""
        self._any_shadowed = False
        # Additions come first, so a domain never lacks all of its anchors in between.
        installed = await self._install_all(snapshot)
        if installed.unreadable:
            # An unreadable entry may stand for an anchor that is held.
            self._log.error("snapshot contains unreadable anchors; removing none")
            return len(installed.wanted)
        pace = TimeSlice()
        for fingerprint, domains in outdated(self._store.held, self._config, installed.wanted):
            await pace.rest()
            self._store.withdraw(fingerprint, domains)
            self._log.info("anchor removed", fingerprint=fingerprint, domains=domains)
        for message in installed.refused if self._any_shadowed else ():
            await pace.rest()
            self.add(message, message.domain or "")
        return len(installed.wanted)

    async def _install_all(self, snapshot: SnapshotReader) -> _Installed:
        wanted: set[tuple[str, str]] = set()
        refused: list[AnchorMessage] = []
        unreadable = False
        total, pace = len(snapshot.anchors), TimeSlice()
        for number, message in enumerate(snapshot.anchors):
            await pace.rest()
            self.on_progress(number, total)
            if isinstance(message, str):
                self._refuse("not_a_certificate", message)
                unreadable = True
                continue
            anchor = self._read(message, message.domain or "")
            if isinstance(anchor, PublishedAnchor):
                wanted.add(anchor.key)
                if not self._install(anchor):
                    refused.append(message)
            else:
                unreadable = unreadable or anchor is CertificateProblem.NOT_A_CERTIFICATE
        self.on_progress(total, total)
        return _Installed(wanted, refused, unreadable)

    def add(self, message: AnchorMessage, domain: str) -> None:
        """Install an anchor, if it is valid."""
        anchor = self._read(message, domain)
        if isinstance(anchor, PublishedAnchor):
            self._install(anchor)

    def withdraw(self, message: AnchorMessage, domain: str) -> bool:
        """Remove an anchor.

        Returns whether a full comparison is due. The removal may make room for an anchor that was refused, as when a
        CA is replaced by one with the same name.
        """
        anchor = self._read(message, domain)
        if not isinstance(anchor, PublishedAnchor):
            return False
        held = self._store.held.get(anchor.certificate.fingerprint)
        if held is None or held.source is not AnchorSource.REGISTRY:
            return False
        # Discovery may have found the same anchor for domains below before the registry published it.
        domains = [domain for domain in held.domains if is_within(domain, anchor.domain)]
        self._store.withdraw(held.fingerprint, domains)
        self._full_at = None
        self._log.info("anchor removed", fingerprint=held.fingerprint, domains=domains)
        shadowed, self._any_shadowed = self._any_shadowed, False
        return shadowed

    def _read(self, message: AnchorMessage, domain: str) -> PublishedAnchor | CertificateProblem | None:
        """Validate and report. Returns what is wrong with the certificate; None: the domain is not the registry's."""
        try:
            return read_anchor(message, domain, self._config, datetime.fromtimestamp(self._wall(), UTC))
        except CertificateRefused as error:
            self._refuse(str(error.problem), str(error))
            return error.problem
        except ValueError as error:
            self._refuse("outside_domain", str(error))
            return None

    def _refuse(self, reason: str, error: str) -> None:
        self._metrics.refused.labels(reason).inc()
        self._limited_log.error("anchor refused", reason=reason, error=shortened(error))

    def _install(self, anchor: PublishedAnchor) -> bool:
        """Put an anchor in force. Returns whether it is."""
        if self._store.held.get(anchor.certificate.fingerprint) is None and not self._has_room():
            self._refuse("too_many", f"the registry already has {self._config.max_anchors} anchors (max_anchors)")
            return False
        try:
            added = self._store.add(
                anchor.certificate, [anchor.domain], AnchorSource.REGISTRY, datetime.fromtimestamp(self._wall(), UTC)
            )
        except ShadowError as error:
            self._refuse("shadows", str(error))
            self._any_shadowed = True
            return False
        if added:
            self._log.info("anchor added", subject=added.subject, domain=anchor.domain, fingerprint=added.fingerprint)
        return True

    def _has_room(self) -> bool:
        # Counting the registry's own anchors takes long. The size of the store nearly always answers.
        limit, size = self._config.max_anchors, len(self._store.held)
        if size < limit:
            return True
        if self._full_at == size:
            return False
        own = (
            record
            for record in self._store.held
            if record.source is AnchorSource.REGISTRY and any(self._config.speaks_for(d) for d in record.domains)
        )
        room = sum(1 for _ in own) < limit
        self._full_at = None if room else size
        return room

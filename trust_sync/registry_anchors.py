"""A registry's anchors in the store: put in force, and taken out, as it says and no further than it may."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

from dane_radius.core import AnchorRecord, AnchorSource, is_within
from dane_radius.local import Logger
from trust_sync.certificate import CertificateProblem, CertificateRefused
from trust_sync.config import RegistryConfig
from trust_sync.messages import AnchorMessage, SnapshotReader, Wanted, read_anchor, shortened
from trust_sync.metrics import Metrics
from trust_sync.pace import Pace
from trust_sync.store import AnchorStore, ShadowError


def outdated(
    records: Iterable[AnchorRecord], registry: RegistryConfig, wanted: Collection[tuple[str, str]]
) -> list[tuple[str, list[str]]]:
    """What the store has of a registry and its snapshot has not: fingerprints, with the domains to end each for.

    wanted: fingerprint and domain of each anchor of the snapshot.
    """
    found = []
    for record in records:
        if record.source is not AnchorSource.REGISTRY:
            continue
        gone = [d for d in record.domains if registry.speaks_for(d) and (record.fingerprint, d) not in wanted]
        if gone:
            found.append((record.fingerprint, gone))
    return found


class RegistryAnchors:
    """The store, as far as one registry may change it. `say`: a log line, of which there may be too many."""

    def __init__(
        self,
        config: RegistryConfig,
        store: AnchorStore,
        metrics: Metrics,
        log: Logger,
        say: Callable[..., None],
        wall: Callable[[], float],
    ) -> None:
        self._config, self._store, self._metrics, self._log, self._say = config, store, metrics, log, say
        self._wall = wall
        # An anchor was refused because of another one: when that goes, there may be room for it.
        self._shadowed = False
        # How many anchors the store had when, in the present answer, this registry had all that it may have.
        self._full_at: int | None = None
        self.on_progress: Callable[[int, int], None] = lambda done, total: None

    def begin(self) -> None:
        """Another answer of the registry is dealt with from now on."""
        self._full_at = None

    async def replace(self, snapshot: SnapshotReader) -> int:
        """Install what a snapshot has, and end what it has not; returns how many it has. Raises StoreError."""
        wanted: set[tuple[str, str]] = set()
        again: list[AnchorMessage] = []
        unreadable = False
        self._shadowed = False
        total, pace = len(snapshot.anchors), Pace()
        # First the new ones: at no time is a domain without any.
        for number, message in enumerate(snapshot.anchors):
            # Sessions are ended and discoveries made meanwhile.
            await pace.rest()
            self.on_progress(number, total)
            if isinstance(message, str):
                self._refused("not_a_certificate", message)
                unreadable = True
                continue
            anchor, problem = self._read(message, message.domain or "")
            unreadable = unreadable or problem is CertificateProblem.NOT_A_CERTIFICATE
            if anchor is not None:
                wanted.add(anchor.key)
                if not self._install(anchor):
                    again.append(message)
        self.on_progress(total, total)
        if unreadable:
            # One of them may stand for an anchor that we hold: this snapshot takes nothing away.
            self._log.error("snapshot holds anchors that cannot be read; nothing is removed")
            return len(wanted)
        for fingerprint, domains in outdated(self._store.records.values(), self._config, wanted):
            await pace.rest()
            self._store.remove(fingerprint, domains)
            self._log.info("anchor removed", fingerprint=fingerprint, domains=domains)
        for message in again if self._shadowed else ():
            await pace.rest()
            self.add(message, message.domain or "")
        return len(wanted)

    def add(self, message: AnchorMessage, domain: str) -> None:
        """Install an anchor. Raises StoreError."""
        anchor, _ = self._read(message, domain)
        if anchor is not None:
            self._install(anchor)

    def withdraw(self, message: AnchorMessage, domain: str) -> bool:
        """End an anchor. Raises StoreError.

        Returns whether a comparison is due: there may be room now for what its presence kept out, as when a CA is
        replaced by one of the same name.
        """
        item, _ = self._read(message, domain)
        held = self._store.get(item.certificate.fingerprint) if item is not None else None
        if item is None or held is None or held.source is not AnchorSource.REGISTRY:
            return False
        # With the domains below it, for which discovery may have found the same anchor before the registry named it.
        domains = [domain for domain in held.domains if is_within(domain, item.domain)]
        self._store.remove(held.fingerprint, domains)
        self._full_at = None
        self._log.info("anchor removed", fingerprint=held.fingerprint, domains=domains)
        shadowed, self._shadowed = self._shadowed, False
        return shadowed

    def _read(self, message: AnchorMessage, domain: str) -> tuple[Wanted | None, CertificateProblem | None]:
        """The anchor in a message. When it cannot be one, that is reported; and what is wrong with the certificate."""
        try:
            return read_anchor(message, domain, self._config, datetime.fromtimestamp(self._wall(), UTC)), None
        except CertificateRefused as error:
            self._refused(str(error.problem), str(error))
            return None, error.problem
        except ValueError as error:
            self._refused("outside_domain", str(error))
            return None, None

    def _refused(self, reason: str, error: str) -> None:
        self._metrics.anchors_refused.labels(reason).inc()
        self._say("anchor refused", reason=reason, error=shortened(error))

    def _install(self, item: Wanted) -> bool:
        """Put an anchor in force. Returns whether it is. Raises StoreError."""
        if self._store.get(item.certificate.fingerprint) is None and not self._has_room():
            self._refused("too_many", f"there are {self._config.max_anchors} of this registry (max_anchors)")
            return False
        try:
            added = self._store.add(
                item.certificate, [item.domain], AnchorSource.REGISTRY, datetime.fromtimestamp(self._wall(), UTC)
            )
        except ShadowError as error:
            self._refused("shadows", str(error))
            self._shadowed = True
            return False
        if added:
            self._log.info("anchor added", subject=added.subject, domain=item.domain, fingerprint=added.fingerprint)
        return True

    def _has_room(self) -> bool:
        # The whole store is the quick answer, and nearly always enough.
        limit, size = self._config.max_anchors, len(self._store)
        if size < limit:
            return True
        if self._full_at == size:
            return False
        ours = (
            record
            for record in self._store.records.values()
            if record.source is AnchorSource.REGISTRY and any(self._config.speaks_for(d) for d in record.domains)
        )
        room = sum(1 for _ in ours) < limit
        self._full_at = None if room else size
        return room

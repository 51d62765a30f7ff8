"""The anchors in force, and queries over them. Pure: what is on disk is the store's business."""

from __future__ import annotations

from collections.abc import Iterator

from dane_radius.core import AnchorRecord, AnchorSource, identity_domain

DISCOVERED = frozenset({AnchorSource.PKIX_CD, AnchorSource.DANE_TA, AnchorSource.LEAF})


class HeldAnchors:
    """Anchor records by fingerprint and by domain."""

    def __init__(self) -> None:
        self._records: dict[str, AnchorRecord] = {}
        self._by_domain: dict[str, set[str]] = {}
        self._discovered_by_domain: dict[str, int] = {}
        self._discovered = 0

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[AnchorRecord]:
        return iter(self._records.values())

    @property
    def records(self) -> dict[str, AnchorRecord]:
        """A copy of the records, by fingerprint."""
        return dict(self._records)

    def get(self, fingerprint: str) -> AnchorRecord | None:
        """The record of an anchor, None if it is not held."""
        return self._records.get(fingerprint)

    def for_domain(self, domain: str) -> list[AnchorRecord]:
        """The anchors that may vouch for names of an identity domain."""
        found: dict[str, AnchorRecord] = {}
        while domain:
            for fingerprint in self._by_domain.get(domain, ()):
                found[fingerprint] = self._records[fingerprint]
            domain = domain.partition(".")[2]
        return list(found.values())

    @property
    def discovered(self) -> int:
        """The number of discovered anchors."""
        return self._discovered

    def count_discovered(self, domain: str) -> int:
        """The number of discovered anchors of an identity domain, including its devices' own certificates."""
        return self._discovered_by_domain.get(domain, 0)

    def put(self, record: AnchorRecord) -> None:
        """Hold a record, in place of the one with the same fingerprint."""
        self.remove(record.fingerprint)
        self._records[record.fingerprint] = record
        for domain in record.domains:
            self._by_domain.setdefault(domain, set()).add(record.fingerprint)
        self._count(record, 1)

    def remove(self, fingerprint: str) -> None:
        """Stop holding a record, if it is held."""
        record = self._records.pop(fingerprint, None)
        if record is None:
            return
        for domain in record.domains:
            members = self._by_domain[domain]
            members.discard(fingerprint)
            if not members:
                del self._by_domain[domain]
        self._count(record, -1)

    def _count(self, record: AnchorRecord, change: int) -> None:
        if record.source not in DISCOVERED:
            return
        self._discovered += change
        for domain in record.domains:
            # A device's own certificate vouches for one name. It counts for the identity domain of that name.
            counted = identity_domain(domain) if record.source is AnchorSource.LEAF else domain
            self._discovered_by_domain[counted] = self._discovered_by_domain.get(counted, 0) + change
            if not self._discovered_by_domain[counted]:
                del self._discovered_by_domain[counted]

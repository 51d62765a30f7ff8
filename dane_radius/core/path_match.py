"""TLSA records that require a certification path: usages 0, 1, 2 and the opt-in 4 (RFC 6698, RFC 7671 section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dane_radius.core.anchor_record import Anchor, AnchorSource
from dane_radius.core.certificate import Leaf, parse_leaf
from dane_radius.core.chain import Path, verify_paths
from dane_radius.core.names import identity_domain
from dane_radius.core.reasons import Refused
from dane_radius.core.tlsa import MatchingType, Selector, TlsaRecord, Usage, first_match
from dane_radius.core.work import MAX_CANDIDATES, TooMuchWork, Work

# In the order in which they are tried.
PATH_USAGES = (Usage.DANE_TA, Usage.PKIX_EE, Usage.PKIX_TA, Usage.PKIX_CD)
# Anchors from TLSA records. Usages 0 and 1 require a chain in addition to the record, and a chain to such an anchor
# would prove no more than the DNS does.
_NOT_PKIX = frozenset({AnchorSource.DANE_TA, AnchorSource.LEAF})


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A matching record and its path; without a record, the reasons why no path was found."""

    record: TlsaRecord | None = None
    path: str | None = None
    failures: tuple[str, ...] = ()


def match_by_path(
    usage: Usage,
    records: Sequence[TlsaRecord],
    leaf: Leaf,
    name: str,
    anchors: Sequence[Anchor],
    now: datetime,
    work: Work,
) -> PathMatch:
    """The first of `records`, all of one usage, that a path from the leaf matches. Raises TooMuchWork."""
    domain = identity_domain(name)
    # The caller should pass the anchors of this domain only. A mistake there must not extend an anchor's domains.
    anchors = [anchor for anchor in anchors if anchor.record.vouches_for(domain)]
    of_leaf: TlsaRecord | None = None
    if usage in (Usage.PKIX_EE, Usage.PKIX_CD):
        of_leaf = first_match(records, leaf.der, leaf.spki)
        if of_leaf is None:
            return PathMatch()
    candidates = _candidates(usage, records, leaf, anchors)
    if len(candidates) > MAX_CANDIDATES:
        raise TooMuchWork(f"{len(candidates)} certificates to look for a path in, at most {MAX_CANDIDATES} expected")
    trusted = _trusted(usage, records, anchors, candidates)
    if usage == Usage.DANE_TA and not trusted:
        return PathMatch(
            failures=(f"the CA that {records[0].short} names is neither held as an anchor nor published in full",)
        )

    def matching(path: Path) -> TlsaRecord | None:
        """The record that matches with this path: the leaf's own, or one that names a certificate of the path."""
        if of_leaf is not None:
            return of_leaf
        found = (first_match(records, link.der, link.spki) for link in path.links)
        return next((record for record in found if record is not None), None)

    paths, why = verify_paths(
        leaf, name, trusted, candidates, now, enough=lambda path: matching(path) is not None, work=work
    )
    for path in paths:
        record = matching(path)
        if record is not None:
            return PathMatch(record, str(path))
    return PathMatch(failures=() if paths else tuple(why))


def _candidates(usage: Usage, records: Sequence[TlsaRecord], leaf: Leaf, anchors: Sequence[Anchor]) -> list[bytes]:
    """The certificates that a path may contain above the leaf."""
    held = [anchor.der for anchor in anchors]
    if usage != Usage.DANE_TA:
        return held
    published = [r.data for r in records if r.selector == Selector.CERT and r.matching_type == MatchingType.FULL]
    # A leaf cannot be its own CA: this usage names a certificate above it (RFC 7671 section 5.2).
    return [der for der in dict.fromkeys([*held, *published]) if der != leaf.der]


def _trusted(
    usage: Usage, records: Sequence[TlsaRecord], anchors: Sequence[Anchor], candidates: Sequence[bytes]
) -> list[bytes]:
    """The certificates that a path may end in (the trust anchors)."""
    if usage == Usage.DANE_TA:
        return [der for der in candidates if _is_named(records, der)]
    excluded = _NOT_PKIX if usage != Usage.PKIX_CD else {AnchorSource.LEAF}
    return [anchor.der for anchor in anchors if anchor.record.source not in excluded]


def _is_named(records: Sequence[TlsaRecord], der: bytes) -> bool:
    try:
        certificate = parse_leaf(der)
    except Refused:
        return False
    return first_match(records, certificate.der, certificate.spki) is not None

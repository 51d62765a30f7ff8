"""When a discovered anchor is retired: a decision over the anchors held and a clock. Pure.

An anchor admits no device by itself. Keeping one too long only costs space; removing one too early locks devices out.
An anchor is therefore retired only after no name has led to it for a while. A name stops leading to an anchor if its
zone provably no longer publishes it, or if the name is not known (a lost state file). A failed lookup or fetch never
has this effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from dane_radius.core import AnchorRecord, AnchorSource
from trust_sync.anchors.held_anchors import DISCOVERED


@dataclass(frozen=True, order=True)
class Holding:
    """An anchor and one domain that it serves. For a device's own certificate, the domain is the device's name."""

    fingerprint: str
    domain: str

    def __str__(self) -> str:
        return f"{self.fingerprint} {self.domain}"


@dataclass(frozen=True)
class Retirement:
    """unbacked: since when no name leads to each holding, on the caller's clock. ended: holdings that end now."""

    unbacked: dict[Holding, float]
    ended: tuple[Holding, ...]


def retire(
    records: Iterable[AnchorRecord],
    backed: Collection[Holding],
    unbacked: Mapping[Holding, float],
    in_use: Collection[str],
    vouching: Callable[[str], Iterable[AnchorRecord]],
    now: float,
    retire_after: float,
) -> Retirement:
    """Decide which holdings end. Times are in seconds.

    backed: holdings to which a known name leads. in_use: identity domains with live sessions. vouching: the anchors
    that serve a domain. The last CA of a domain in use always stays: its devices may have been admitted by records
    that hold only digests, from which the CA could not be found again.
    """
    since: dict[Holding, float] = {}
    ended: list[Holding] = []
    for record in records:
        if record.source not in DISCOVERED:
            continue
        for holding in (Holding(record.fingerprint, domain) for domain in record.domains):
            if holding in backed:
                continue
            if holding.domain in in_use and _is_last_ca(record, holding.domain, vouching(holding.domain), backed):
                since[holding] = now
                continue
            began = min(unbacked.get(holding, now), now)
            if now - began >= retire_after:
                ended.append(holding)
            else:
                since[holding] = began
    return Retirement(since, tuple(ended))


def _is_last_ca(
    record: AnchorRecord, domain: str, vouching: Iterable[AnchorRecord], backed: Collection[Holding]
) -> bool:
    """Whether no other CA of the domain is configured, backed, or was fetched later."""
    if record.source is AnchorSource.LEAF:
        return False
    for other in vouching:
        if other.source is AnchorSource.LEAF or other.fingerprint == record.fingerprint:
            continue
        if other.source not in DISCOVERED or Holding(other.fingerprint, domain) in backed:
            return False
        if (other.fetched, other.fingerprint) > (record.fetched, record.fingerprint):
            return False
    return True

"""When an anchor goes that discovery once found: decisions over what is held and a clock. Pure.

An anchor lets nobody in by itself, so that keeping one too long costs room, and taking one away too early costs
somebody the network. It goes when nothing has led to it for a while: not because a source failed to answer, but because
the zones of all names that led to it have provably let go of it, or because no such name is known (a lost state file).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from dane_radius.core import AnchorRecord, AnchorSource

DISCOVERED = frozenset({AnchorSource.PKIX_CD, AnchorSource.DANE_TA, AnchorSource.LEAF})


@dataclass(frozen=True, order=True)
class Holding:
    """An anchor, and one of the domains that it serves (of a device's own certificate: the device's name)."""

    fingerprint: str
    domain: str

    def __str__(self) -> str:
        return f"{self.fingerprint} {self.domain}"


@dataclass(frozen=True)
class Retirement:
    """unbacked: since when nothing leads to a holding, in seconds of the caller's clock. gone: those that end now."""

    unbacked: dict[Holding, float]
    gone: tuple[Holding, ...]


def retire(
    records: Iterable[AnchorRecord],
    backed: Collection[Holding],
    unbacked: Mapping[Holding, float],
    in_use: Collection[str],
    vouching: Callable[[str], Iterable[AnchorRecord]],
    now: float,
    retire_after: float,
) -> Retirement:
    """Which holdings end.

    in_use: identity domains with live sessions. The last CA of such a domain stays, backed or not: devices of it may be
    in by records that hold digests only, and could not bring it back. vouching: the anchors that serve a domain.
    """
    since: dict[Holding, float] = {}
    gone: list[Holding] = []
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
                gone.append(holding)
            else:
                since[holding] = began
    return Retirement(since, tuple(gone))


def _is_last_ca(
    record: AnchorRecord, domain: str, vouching: Iterable[AnchorRecord], backed: Collection[Holding]
) -> bool:
    """Whether no other CA could stand in: none that is configured, none that is backed, and none that came later."""
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

"""Anchors that would shadow each other. Pure functions.

OpenSSL looks an issuer up by its name and then by key identifier. Of two anchors with one name, or one key identifier,
but different keys, one makes the other's devices fail; whoever publishes such an anchor second could switch a
stranger's devices off. So the second one is refused, unless the operator configured its source and the first was only
found in passing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dane_radius.core import AnchorSource

_CONFIGURED = frozenset({AnchorSource.MANUAL, AnchorSource.REGISTRY})


@dataclass(frozen=True, slots=True)
class Footprint:
    """What of an anchor can shadow another: its canonical subject, key identifier and key.

    source: None for a certificate in the folder that the index does not know, which somebody put there by hand.
    """

    label: str
    subject: bytes
    ski: bytes | None
    spki: bytes
    source: AnchorSource | None

    @property
    def keys(self) -> tuple[tuple[str, bytes], ...]:
        """What OpenSSL could find it by."""
        return (("subject", self.subject), *([("ski", self.ski)] if self.ski else []))

    def shadows(self, other: Footprint) -> str | None:
        """What the two have in common although their keys differ; None when they can live together."""
        if self.spki == other.spki:
            return None
        if self.subject == other.subject:
            return "subject"
        if self.ski and self.ski == other.ski:
            return "subject key identifier"
        return None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a newcomer: refuse it (with why), or admit it and evict `evict` first."""

    refused: str | None = None
    evict: tuple[str, ...] = ()


def judge(newcomer: Footprint, held: Iterable[Footprint]) -> Verdict:
    """Whether `newcomer` may join `held`, those that share its subject or key identifier."""
    evict = []
    for other in held:
        shared = newcomer.shadows(other)
        if shared is None:
            continue
        discovered = other.source is not None and other.source not in _CONFIGURED
        if newcomer.source in _CONFIGURED and discovered:
            evict.append(other.label)
        else:
            return Verdict(f"would shadow {other.label}: same {shared}, different key")
    return Verdict(evict=tuple(evict))

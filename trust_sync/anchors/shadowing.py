"""Anchors that shadow each other. Pure.

OpenSSL finds an issuer by its subject name, and then by its key identifier. If two anchors share one of these but have
different keys, the devices of one of them fail. A stranger who publishes such an anchor could lock out another
domain's devices. The newcomer is therefore refused, unless the operator configured its source and the other anchor was
only discovered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dane_radius.core import AnchorSource
from trust_sync.anchors.certificate import Certificate

CONFIGURED = frozenset({AnchorSource.MANUAL, AnchorSource.REGISTRY})


@dataclass(frozen=True, slots=True)
class Footprint:
    """The properties of an anchor by which it can shadow another: canonical subject, key identifier and key.

    label: the fingerprint, or a file name. source: None for a certificate that somebody put into the folder by hand.
    """

    label: str
    subject: bytes
    ski: bytes | None
    spki: bytes
    source: AnchorSource | None

    @classmethod
    def of(cls, certificate: Certificate, source: AnchorSource | None, label: str) -> Footprint:
        """The footprint of a certificate."""
        return cls(label, certificate.subject, certificate.ski, certificate.spki, source)

    @property
    def keys(self) -> tuple[tuple[str, bytes], ...]:
        """The keys by which OpenSSL could find the anchor."""
        return (("subject", self.subject), *([("ski", self.ski)] if self.ski else []))

    def shared_with(self, other: Footprint) -> str | None:
        """What two anchors with different keys have in common. None: they do not shadow each other."""
        if self.spki == other.spki:
            return None
        if self.subject == other.subject:
            return "subject"
        if self.ski and self.ski == other.ski:
            return "subject key identifier"
        return None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a newcomer is admitted. refused: why not. evict: labels of anchors that must be removed first."""

    refused: str | None = None
    evict: tuple[str, ...] = ()


def admit(newcomer: Footprint, held: Iterable[Footprint]) -> Admission:
    """Decide whether `newcomer` may join the anchors that share its subject or key identifier."""
    evict = []
    for other in held:
        shared = newcomer.shared_with(other)
        if shared is None:
            continue
        discovered = other.source is not None and other.source not in CONFIGURED
        if newcomer.source in CONFIGURED and discovered:
            evict.append(other.label)
        else:
            return Admission(f"would shadow {other.label}: same {shared}, different key")
    return Admission(evict=tuple(evict))


class Footprints:
    """The footprints of all certificates in the folder."""

    def __init__(self) -> None:
        self._by_label: dict[str, Footprint] = {}
        self._by_key: dict[tuple[str, bytes], dict[str, Footprint]] = {}

    def __contains__(self, label: str) -> bool:
        return label in self._by_label

    def add(self, footprint: Footprint) -> None:
        """Add a footprint, or replace the one with the same label."""
        self._by_label[footprint.label] = footprint
        for key in footprint.keys:
            self._by_key.setdefault(key, {})[footprint.label] = footprint

    def remove(self, label: str) -> None:
        """Remove a footprint, if it is there."""
        footprint = self._by_label.pop(label, None)
        for key in footprint.keys if footprint else ():
            members = self._by_key.get(key, {})
            members.pop(label, None)
            if not members:
                self._by_key.pop(key, None)

    def admit(self, newcomer: Footprint) -> Admission:
        """Decide whether `newcomer` may join."""
        held = {label: other for key in newcomer.keys for label, other in self._by_key.get(key, {}).items()}
        return admit(newcomer, held.values())

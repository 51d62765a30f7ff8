"""Anchors as a registry publishes them: which are valid, and which a snapshot no longer lists. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from dane_radius.core import AnchorRecord, AnchorSource, Refused, normalize
from trust_sync.anchors import (
    Certificate,
    CertificateProblem,
    CertificateRefused,
    check_authority,
    check_complexity,
    parse_pem,
)
from trust_sync.registries.messages import AnchorMessage
from trust_sync.shared import RegistryConfig


@dataclass(frozen=True)
class PublishedAnchor:
    """An anchor that a registry publishes and that may be installed."""

    certificate: Certificate
    domain: str

    @property
    def key(self) -> tuple[str, str]:
        """Fingerprint and domain."""
        return self.certificate.fingerprint, self.domain


def read_domain(text: str, registry: RegistryConfig) -> str:
    """Normalize a domain that a registry names. Raises ValueError if it is not one of the registry's domains."""
    try:
        domain = normalize(text.encode("utf-8", "surrogatepass"))
    except Refused as error:
        raise ValueError(error.detail) from error
    if not registry.speaks_for(domain):
        raise ValueError(f"{domain!r} is outside of {', '.join(registry.domains)}")
    return domain


def read_anchor(message: AnchorMessage, domain: str, registry: RegistryConfig, now: datetime) -> PublishedAnchor:
    """Validate an anchor. Raises CertificateRefused, and ValueError if the domain is not the registry's."""
    domain = read_domain(domain, registry)
    certificate = parse_pem(message.pem.encode())
    if message.fingerprint and message.fingerprint.lower().replace(":", "") != certificate.fingerprint:
        raise CertificateRefused(
            CertificateProblem.NOT_A_CERTIFICATE, f"its fingerprint is not {message.fingerprint}, as was said"
        )
    check_complexity(certificate)
    try:
        check_authority(certificate, "device." + domain, now)
    except CertificateRefused as error:
        # OpenSSL and the module check dates at each authentication. Here, the clock may be wrong, and a CA may be
        # published early. Name constraints may allow other device names.
        if error.problem is CertificateProblem.NOT_A_CA:
            raise
    return PublishedAnchor(certificate, domain)


def outdated(
    records: Iterable[AnchorRecord], registry: RegistryConfig, wanted: Collection[tuple[str, str]]
) -> list[tuple[str, list[str]]]:
    """Find a registry's held anchors that its snapshot does not list: fingerprints, and the domains to withdraw.

    wanted: fingerprint and domain of each anchor in the snapshot.
    """
    found = []
    for record in records:
        if record.source is not AnchorSource.REGISTRY:
            continue
        gone = [d for d in record.domains if registry.speaks_for(d) and (record.fingerprint, d) not in wanted]
        if gone:
            found.append((record.fingerprint, gone))
    return found

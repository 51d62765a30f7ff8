"""What a name's TLSA records lead to: certificates that could be anchors, and CAs that could be fetched. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from dane_radius.core import (
    AnchorRecord,
    AnchorSource,
    MatchingType,
    Selector,
    TlsaRecord,
    Usage,
    authority_host,
    identity_domain,
    select,
)
from trust_sync.certificate import (
    Certificate,
    CertificateRefused,
    check_authority,
    check_issued,
    check_leaf,
    parse_certificate,
    parse_pem,
)
from trust_sync.reasons import Reason, of_certificate


@dataclass(frozen=True)
class Found:
    """A certificate that may be installed as it is, for `domains`."""

    certificate: Certificate
    domains: tuple[str, ...]
    source: AnchorSource


@dataclass(frozen=True)
class Fetch:
    """A CA that may be fetched: it must have signed `leaf`, which the DNS vouches for."""

    leaf: Certificate
    host: str
    path: str


@dataclass(frozen=True)
class DeadEnd:
    """A record that leads nowhere, and why."""

    reason: Reason
    detail: str


Lead = Found | Fetch | DeadEnd


def leads(records: Iterable[TlsaRecord], name: str, now: datetime, *, pkix_cd: bool) -> list[Lead]:
    """What the secure TLSA records of `name` lead to, in the order in which it is to be tried.

    `2 0 0`: the CA itself. `3 0 0`: the device's own certificate; it goes into the store itself, and the CA that issued
    it is the second choice. `4 0 0` (where policy opts in) and `1 0 0`: the CA behind the authority URL. A digest alone
    leads nowhere: there is no certificate in it.
    """
    found: list[Lead] = []
    fallback: list[Lead] = []
    dead: list[Lead] = []
    for record in select(records, allow_pkix_cd=pkix_cd).usable:
        if record.selector != Selector.CERT or record.matching_type != MatchingType.FULL:
            continue
        try:
            certificate = parse_certificate(record.data)
            if record.usage == Usage.DANE_TA:
                check_authority(certificate, name, now)
                found.append(Found(certificate, (identity_domain(name),), AnchorSource.DANE_TA))
            elif record.usage == Usage.DANE_EE:
                check_leaf(certificate, name, now)
                # It may vouch for the one name only: many self-signed certificates say CA:TRUE.
                found.append(Found(certificate, (name,), AnchorSource.LEAF))
                if not certificate.self_signed:
                    fallback.append(_authority(certificate, name))
            elif record.usage in (Usage.PKIX_CD, Usage.PKIX_EE):
                check_leaf(certificate, name, now)
                fallback.append(_authority(certificate, name))
        except CertificateRefused as error:
            dead.append(DeadEnd(of_certificate(error.problem), f"{record.short}: {error}"))
    return found + fallback + dead


def _authority(leaf: Certificate, name: str) -> Lead:
    """The authority URL of draft-wilson-dane-pkix-cd section 3.5."""
    host = authority_host(name)
    if host is None:
        return DeadEnd(Reason.NO_AUTHORITY, f"{name} has no underscore label, and so no authority URL")
    if leaf.aki is None:
        return DeadEnd(Reason.NO_KEY_IDENTIFIER, "the certificate in the DNS names no authority key identifier")
    return Fetch(leaf, host, f"/.well-known/ca/{leaf.aki.hex('-')}.pem")


def check_fetched(lead: Fetch, body: bytes, name: str, now: datetime) -> Found:
    """The anchor in a fetched file. Raises CertificateRefused."""
    certificate = parse_pem(body)
    check_authority(certificate, name, now)
    check_issued(lead.leaf, certificate)
    return Found(certificate, (identity_domain(name),), AnchorSource.PKIX_CD)


def still_published(anchor: AnchorRecord, records: Iterable[TlsaRecord]) -> bool:
    """Whether the secure TLSA records of a name still lead to an anchor that was found by them.

    They do while they hold the anchor itself, or, for a fetched CA, a certificate that names its key identifier.
    Neither dates nor anything else that depends on our clock or on a web server counts.
    """
    for record in records:
        if record.selector != Selector.CERT or record.matching_type != MatchingType.FULL:
            continue
        if hashlib.sha256(record.data).hexdigest() == anchor.fingerprint:
            return True
        if anchor.source is AnchorSource.PKIX_CD and anchor.ski and _key_identifier_of_issuer(record) == anchor.ski:
            return True
    return False


def _key_identifier_of_issuer(record: TlsaRecord) -> str | None:
    try:
        aki = parse_certificate(record.data).aki
    except CertificateRefused:
        return None
    return aki.hex() if aki else None

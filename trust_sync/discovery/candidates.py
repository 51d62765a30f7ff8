"""The anchors to which a name's TLSA records lead: certificates in them, and CAs that can be fetched. Pure."""

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
from trust_sync.anchors import (
    Certificate,
    CertificateRefused,
    check_authority,
    check_device_certificate,
    check_issued,
    parse_certificate,
    parse_pem,
)
from trust_sync.discovery.reasons import Reason, reason_of_certificate


@dataclass(frozen=True)
class CandidateAnchor:
    """A certificate that may be installed for `domains`."""

    certificate: Certificate
    domains: tuple[str, ...]
    source: AnchorSource


@dataclass(frozen=True)
class AuthorityUrl:
    """The location of a CA, which must have signed `leaf`. The DNS vouches for `leaf`."""

    leaf: Certificate
    host: str
    path: str


@dataclass(frozen=True)
class UnusableRecord:
    """A record that leads to no anchor, and why."""

    reason: Reason
    detail: str


Candidate = CandidateAnchor | AuthorityUrl | UnusableRecord


def find_candidates(records: Iterable[TlsaRecord], name: str, now: datetime, *, pkix_cd: bool) -> list[Candidate]:
    """List what the secure TLSA records of `name` lead to, in the order in which to try it.

    - `2 0 0`: the CA in the record.
    - `3 0 0`: the device's own certificate, and as second choice the CA at the authority URL.
    - `4 0 0`, if `pkix_cd` permits, and `1 0 0`: the CA at the authority URL.
    - A digest leads to nothing, as it contains no certificate.
    """
    found: list[Candidate] = []
    fallback: list[Candidate] = []
    unusable: list[Candidate] = []
    for record in select(records, allow_pkix_cd=pkix_cd).usable:
        if record.selector != Selector.CERT or record.matching_type != MatchingType.FULL:
            continue
        try:
            certificate = parse_certificate(record.data)
            if record.usage == Usage.DANE_TA:
                check_authority(certificate, name, now)
                found.append(CandidateAnchor(certificate, (identity_domain(name),), AnchorSource.DANE_TA))
            elif record.usage == Usage.DANE_EE:
                check_device_certificate(certificate, name, now)
                # Only for this name, because many self-signed certificates say CA:TRUE.
                found.append(CandidateAnchor(certificate, (name,), AnchorSource.LEAF))
                if not certificate.self_signed:
                    fallback.append(_authority_url(certificate, name))
            elif record.usage in (Usage.PKIX_CD, Usage.PKIX_EE):
                check_device_certificate(certificate, name, now)
                fallback.append(_authority_url(certificate, name))
        except CertificateRefused as error:
            unusable.append(UnusableRecord(reason_of_certificate(error.problem), f"{record.short}: {error}"))
    return found + fallback + unusable


def _authority_url(leaf: Certificate, name: str) -> Candidate:
    """Derive the authority URL (draft-wilson-dane-pkix-cd section 3.5)."""
    host = authority_host(name)
    if host is None:
        return UnusableRecord(Reason.NO_AUTHORITY, f"{name} has no underscore label, and so no authority URL")
    if leaf.aki is None:
        return UnusableRecord(Reason.NO_KEY_IDENTIFIER, "the certificate in the DNS names no authority key identifier")
    return AuthorityUrl(leaf, host, f"/.well-known/ca/{leaf.aki.hex('-')}.pem")


def check_fetched(url: AuthorityUrl, body: bytes, name: str, now: datetime) -> CandidateAnchor:
    """Validate a fetched CA file. Raises CertificateRefused."""
    certificate = parse_pem(body)
    check_authority(certificate, name, now)
    check_issued(url.leaf, certificate)
    return CandidateAnchor(certificate, (identity_domain(name),), AnchorSource.PKIX_CD)


def still_published(anchor: AnchorRecord, records: Iterable[TlsaRecord]) -> bool:
    """Whether the secure TLSA records of a name still lead to an anchor that was found through them.

    They do if they contain the anchor itself or, for a fetched CA, a certificate that names its key identifier. Dates
    and the response of a web server have no influence.
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

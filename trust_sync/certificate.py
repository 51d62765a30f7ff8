"""A certificate as a candidate for the anchor store: what is read of it, and what it must be. Pure functions."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from dane_radius.core import (
    MAX_CHAIN_CERTIFICATE_OCTETS,
    MAX_RSA_BITS,
    MAX_RSA_EXPONENT_BITS,
    AnchorError,
    candidate_names,
    der,
    is_within,
    parse_leaf,
    pem_to_der,
)
from dane_radius.core import Refused as ModuleRefused
from trust_sync.openssl_name import canonical_name, name_hash

# Far beyond what a certificate can be; it is not even parsed.
MAX_CERTIFICATE_OCTETS = 64 * 1024
# With one name in a device's certificate, so many are an eighth of what a decision may compare.
MAX_NAME_CONSTRAINTS = 1_000


class CertificateProblem(StrEnum):
    """Why a certificate cannot be an anchor."""

    NOT_A_CERTIFICATE = "not_a_certificate"
    NOT_A_CA = "not_a_ca"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_KEY_IDENTIFIER = "wrong_key_identifier"
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_NAME = "wrong_name"
    NAME_CONSTRAINED = "name_constrained"
    TOO_COMPLEX = "too_complex"


class CertificateRefused(ValueError):
    """A certificate is not what its place asks for."""

    def __init__(self, problem: CertificateProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass(frozen=True)
class Certificate:
    """A parsed certificate.

    fingerprint: SHA-256 over the DER, hexadecimal. subject: OpenSSL's canonical encoding of its name; subject_hash: the
    hash of that. ski, aki: key identifiers, None when absent.
    """

    der: bytes
    spki: bytes
    subject: bytes
    subject_hash: str
    subject_text: str
    ski: bytes | None
    aki: bytes | None
    not_before: datetime
    not_after: datetime
    x509: x509.Certificate

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pem(self) -> bytes:
        body = base64.encodebytes(self.der).replace(b"\n", b"")
        lines = [body[i : i + 64] for i in range(0, len(body), 64)]
        return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])

    @property
    def is_ca(self) -> bool:
        constraints = _extension(self.x509, x509.BasicConstraints)
        return constraints is not None and constraints.ca

    @property
    def self_signed(self) -> bool:
        return self.x509.subject == self.x509.issuer and _signed_by(self.x509, self.x509)


_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def parse_certificate(octets: bytes) -> Certificate:
    """A certificate from DER. Raises CertificateRefused: `not_a_certificate`."""
    if len(octets) > MAX_CERTIFICATE_OCTETS:
        raise CertificateRefused(
            CertificateProblem.NOT_A_CERTIFICATE, f"{len(octets)} octets, at most {MAX_CERTIFICATE_OCTETS} expected"
        )
    try:
        outline = parse_leaf(octets)
        certificate = x509.load_der_x509_certificate(octets)
        ski = _extension(certificate, x509.SubjectKeyIdentifier)
        aki = _extension(certificate, x509.AuthorityKeyIdentifier)
        certificate.public_key()
        return Certificate(
            der=octets,
            spki=outline.spki,
            subject=canonical_name(outline.subject),
            subject_hash=name_hash(outline.subject),
            subject_text=certificate.subject.rfc4514_string(),
            ski=ski.digest if ski else None,
            aki=aki.key_identifier if aki else None,
            not_before=outline.not_before,
            not_after=outline.not_after,
            x509=certificate,
        )
    except ModuleRefused as error:
        raise CertificateRefused(CertificateProblem.NOT_A_CERTIFICATE, error.detail) from error
    except (der.DerError, ValueError, TypeError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise CertificateRefused(CertificateProblem.NOT_A_CERTIFICATE, f"not a certificate: {error}") from error


def parse_pem(octets: bytes) -> Certificate:
    """The one certificate of a PEM file (draft-wilson-dane-pkix-cd section 3.5). Raises CertificateRefused."""
    try:
        data = pem_to_der(octets)
    except AnchorError as error:
        raise CertificateRefused(CertificateProblem.NOT_A_CERTIFICATE, str(error)) from error
    return parse_certificate(data)


def check_dates(certificate: Certificate, now: datetime) -> None:
    """Raises CertificateRefused: `expired` or `not_yet_valid`."""
    if now > certificate.not_after:
        raise CertificateRefused(CertificateProblem.EXPIRED, f"expired at {certificate.not_after:%Y-%m-%d %H:%M:%S}Z")
    if now < certificate.not_before:
        raise CertificateRefused(
            CertificateProblem.NOT_YET_VALID, f"not valid before {certificate.not_before:%Y-%m-%d %H:%M:%S}Z"
        )


def check_authority(certificate: Certificate, name: str, now: datetime) -> None:
    """Whether a certificate may be a CA for the device `name`. Raises CertificateRefused that says why not."""
    if not certificate.is_ca:
        raise CertificateRefused(CertificateProblem.NOT_A_CA, "not a CA (CA:TRUE is expected)")
    usage = _extension(certificate.x509, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise CertificateRefused(CertificateProblem.NOT_A_CA, "its key usage does not allow signing certificates")
    check_dates(certificate, now)
    check_complexity(certificate)
    constraints = _extension(certificate.x509, x509.NameConstraints)
    if constraints is None:
        return
    permitted = [t.value for t in constraints.permitted_subtrees or () if isinstance(t, x509.DNSName)]
    excluded = [t.value for t in constraints.excluded_subtrees or () if isinstance(t, x509.DNSName)]
    if (permitted and not any(_in_subtree(name, base) for base in permitted)) or any(
        _in_subtree(name, base) for base in excluded
    ):
        raise CertificateRefused(CertificateProblem.NAME_CONSTRAINED, f"its name constraints leave no room for {name}")


def check_complexity(certificate: Certificate) -> None:
    """Whether decisions could use it within their bounds (`dane_radius.core.work`). Raises CertificateRefused.

    An anchor beyond them would be of no use, and every decision about its domain would find that out anew.
    """
    octets = len(certificate.der)
    if octets > MAX_CHAIN_CERTIFICATE_OCTETS:
        raise CertificateRefused(
            CertificateProblem.TOO_COMPLEX, f"{octets} octets, at most {MAX_CHAIN_CERTIFICATE_OCTETS} expected"
        )
    key = certificate.x509.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e.bit_length()
        if key.key_size > MAX_RSA_BITS or exponent > MAX_RSA_EXPONENT_BITS:
            raise CertificateRefused(
                CertificateProblem.TOO_COMPLEX,
                f"an RSA key of {key.key_size} bits with an exponent of {exponent} bits, "
                f"at most {MAX_RSA_BITS} and {MAX_RSA_EXPONENT_BITS} expected",
            )
    constraints = _extension(certificate.x509, x509.NameConstraints)
    if constraints is not None:
        count = len(constraints.permitted_subtrees or ()) + len(constraints.excluded_subtrees or ())
        if count > MAX_NAME_CONSTRAINTS:
            raise CertificateRefused(
                CertificateProblem.TOO_COMPLEX, f"{count} name constraints, at most {MAX_NAME_CONSTRAINTS} expected"
            )


def _in_subtree(name: str, base: str) -> bool:
    base = base.lower().strip(".")
    return not base or is_within(name, base)


def check_leaf(certificate: Certificate, name: str, now: datetime) -> None:
    """Whether a certificate found in the DNS at `name` is that device's own.

    draft-wilson-dane-pkix-cd section 5: one of its dNSNames must be the queried name. Raises CertificateRefused.
    """
    try:
        outline = parse_leaf(certificate.der)
        names = candidate_names(outline)
    except ModuleRefused as error:
        raise CertificateRefused(CertificateProblem.WRONG_NAME, error.detail) from error
    if name not in names:
        raise CertificateRefused(
            CertificateProblem.WRONG_NAME, f"the certificate is for {', '.join(names)}; {name} is expected"
        )
    check_dates(certificate, now)


def check_issued(leaf: Certificate, issuer: Certificate) -> None:
    """Whether `issuer` signed `leaf` and is the one that its AKI names. Raises CertificateRefused."""
    if leaf.aki is not None and issuer.ski != leaf.aki:
        found = issuer.ski.hex() if issuer.ski else "none"
        raise CertificateRefused(
            CertificateProblem.WRONG_KEY_IDENTIFIER, f"subject key identifier {found}, {leaf.aki.hex()} expected"
        )
    if not _signed_by(leaf.x509, issuer.x509):
        raise CertificateRefused(
            CertificateProblem.WRONG_SIGNATURE, f"{issuer.subject_text} did not sign the device's certificate"
        )

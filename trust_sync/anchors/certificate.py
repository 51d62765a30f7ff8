"""Certificates that may become anchors: parsing, and why one is refused. Pure."""

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

from dane_radius.core import AnchorError, DerError, parse_leaf, pem_to_der
from dane_radius.core import Refused as ModuleRefused
from trust_sync.anchors.openssl_name import canonical_name, name_hash

# Larger input is not parsed.
MAX_CERTIFICATE_OCTETS = 64 * 1024


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
    """A certificate does not fit its purpose. The text says what was found and what is expected."""

    def __init__(self, problem: CertificateProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass(frozen=True)
class Certificate:
    """A parsed certificate.

    subject: OpenSSL's canonical encoding of the subject name. subject_hash: the hash of that encoding. ski, aki: key
    identifiers, None if absent. Dates are in UTC.
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
        """SHA-256 over the DER, hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def pem(self) -> bytes:
        """The certificate as a PEM file."""
        body = base64.encodebytes(self.der).replace(b"\n", b"")
        lines = [body[i : i + 64] for i in range(0, len(body), 64)]
        return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])

    @property
    def is_ca(self) -> bool:
        """Whether the basic constraints say CA:TRUE."""
        constraints = extension(self.x509, x509.BasicConstraints)
        return constraints is not None and constraints.ca

    @property
    def self_signed(self) -> bool:
        """Whether its own key signed it."""
        return self.x509.subject == self.x509.issuer and is_signed_by(self.x509, self.x509)


_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


def extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    """An extension of a certificate, None if absent."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the key of `issuer` signed the certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def parse_certificate(octets: bytes) -> Certificate:
    """Parse a DER certificate. Raises CertificateRefused (`not_a_certificate`)."""
    if len(octets) > MAX_CERTIFICATE_OCTETS:
        raise CertificateRefused(
            CertificateProblem.NOT_A_CERTIFICATE, f"{len(octets)} octets, at most {MAX_CERTIFICATE_OCTETS} expected"
        )
    try:
        outline = parse_leaf(octets)
        certificate = x509.load_der_x509_certificate(octets)
        ski = extension(certificate, x509.SubjectKeyIdentifier)
        aki = extension(certificate, x509.AuthorityKeyIdentifier)
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
    except (DerError, ValueError, TypeError, x509.DuplicateExtension, UnsupportedAlgorithm) as error:
        raise CertificateRefused(CertificateProblem.NOT_A_CERTIFICATE, f"not a certificate: {error}") from error


def parse_pem(octets: bytes) -> Certificate:
    """Parse the only certificate of a PEM file (draft-wilson-dane-pkix-cd section 3.5). Raises CertificateRefused."""
    try:
        data = pem_to_der(octets)
    except AnchorError as error:
        raise CertificateRefused(CertificateProblem.NOT_A_CERTIFICATE, str(error)) from error
    return parse_certificate(data)

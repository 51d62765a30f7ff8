"""TLSA records as the device judges them: which of them match its certificate. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class TlsaState(StrEnum):
    """What one query found. VOUCHED: the answer is validated, and one of its records matches the certificate."""

    VOUCHED = "vouched"
    OTHER_RECORDS = "other-records"
    ABSENT = "absent"
    INSECURE = "insecure"
    BOGUS = "bogus"
    UNAVAILABLE = "unavailable"


def tlsa_matches(
    usage: int,
    selector: int,
    matching_type: int,
    data: bytes,
    certificate: x509.Certificate,
    issuers: Sequence[x509.Certificate],
) -> bool:
    """Whether one TLSA record (RFC 6698 section 2.1) matches the certificate or one of its issuers.

    The usage says which: 0 and 2 an issuer, 1 and 3 the certificate itself, 4 (PKIX-CD) either.
    """
    leaf, others = [certificate], list(issuers)
    candidates = {0: others, 1: leaf, 2: others, 3: leaf, 4: leaf + others}.get(usage, [])
    return any(_association(candidate, selector, matching_type) == data for candidate in candidates)


def _association(certificate: x509.Certificate, selector: int, matching_type: int) -> bytes | None:
    if selector == 0:
        content = certificate.public_bytes(Encoding.DER)
    elif selector == 1:
        content = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        return None
    match matching_type:
        case 0:
            return content
        case 1:
            return hashlib.sha256(content).digest()
        case 2:
            return hashlib.sha512(content).digest()
    return None

"""The TLSA records that a device must have. Pure.

Sources: RFC 6698 section 2.1 (fields), RFC 7671 sections 5 and 8 (choice of parameters, order of a key rollover).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Profile(StrEnum):
    """Certificate usage, selector and matching type of a device's TLSA records, in presentation form."""

    # The hash of the device's key: unchanged by a renewal with the same key.
    SPKI = "3 1 1"
    # The hash of the device's certificate.
    CERTIFICATE = "3 0 1"
    # The hash of the issuing CA's key: a network needs the CA certificate, and the name must be in the device's.
    AUTHORITY = "2 1 1"
    # The whole certificate, for PKIX-CD. IANA has not assigned usage 4: networks must opt in.
    PKIX_CD = "4 0 0"

    @property
    def fields(self) -> tuple[int, int, int]:
        usage, selector, matching = self.value.split()
        return int(usage), int(selector), int(matching)


@dataclass(frozen=True)
class CertificateData:
    """The parts of one certificate that a TLSA record can be made from, in DER."""

    der: bytes
    spki: bytes
    authority_spki: bytes


def rdata(profile: Profile, certificate: CertificateData) -> str:
    """The TLSA RDATA for one certificate in presentation form, lower-case hex."""
    usage, selector, matching = profile.fields
    if profile is Profile.AUTHORITY:
        data = certificate.authority_spki
    else:
        data = certificate.spki if selector else certificate.der
    association = hashlib.sha256(data).hexdigest() if matching else data.hex()
    return f"{usage} {selector} {matching} {association}"


def rrset(profile: Profile, certificates: Iterable[CertificateData]) -> frozenset[str]:
    """The RDATA of the TLSA RRset for all certificates that must be accepted now. Empty: no record may exist."""
    return frozenset(rdata(profile, certificate) for certificate in certificates)

"""TLSA records of a device: which there must be. Pure.

Sources: RFC 6698 section 2.1 (fields), RFC 7671 sections 5 and 8 (which to use, rollover order).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Profile(StrEnum):
    """What a device's TLSA record holds: usage, selector and matching type in presentation form."""

    # The key: survives a renewal with the same key, and is the smallest.
    SPKI = "3 1 1"
    # The whole certificate's hash.
    CERTIFICATE = "3 0 1"
    # The issuing CA's key: a network needs the CA, and the device's name must be in the certificate.
    AUTHORITY = "2 1 1"
    # The whole certificate, for PKIX-CD (usage 4 is not assigned by IANA: networks opt in).
    PKIX_CD = "4 0 0"

    @property
    def fields(self) -> tuple[int, int, int]:
        usage, selector, matching = self.value.split()
        return int(usage), int(selector), int(matching)


@dataclass(frozen=True)
class Credential:
    """What of one certificate a record can hold; all DER."""

    certificate: bytes
    spki: bytes
    authority_spki: bytes


def rdata(profile: Profile, credential: Credential) -> str:
    """The TLSA RDATA for one certificate in presentation form, lower-case hex."""
    usage, selector, matching = profile.fields
    if profile is Profile.AUTHORITY:
        data = credential.authority_spki
    else:
        data = credential.spki if selector else credential.certificate
    association = hashlib.sha256(data).hexdigest() if matching else data.hex()
    return f"{usage} {selector} {matching} {association}"


def rrset(profile: Profile, credentials: Iterable[Credential]) -> frozenset[str]:
    """The RRset for all certificates of a device that must work now. Empty: no record may exist."""
    return frozenset(rdata(profile, credential) for credential in credentials)

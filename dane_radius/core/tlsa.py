"""TLSA records: which are usable, which count under digest agility, and what they match.

RFC 6698 defines the record, RFC 7671 its interpretation, and RFC 7218 the acronyms. Pure functions over bytes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from dane_radius.core import der
from dane_radius.core.certificate import parse_leaf
from dane_radius.core.reasons import Refused


class Usage(IntEnum):
    """Certificate usage (RFC 6698 section 2.1.1, acronyms of RFC 7218); 4 is draft-wilson-dane-pkix-cd, unassigned."""

    PKIX_TA = 0
    PKIX_EE = 1
    DANE_TA = 2
    DANE_EE = 3
    PKIX_CD = 4


class Selector(IntEnum):
    """Which part of the certificate is compared (RFC 6698 section 2.1.2)."""

    CERT = 0
    SPKI = 1


class MatchingType(IntEnum):
    """How that part is compared (RFC 6698 section 2.1.3)."""

    FULL = 0
    SHA2_256 = 1
    SHA2_512 = 2


_DIGESTS = {MatchingType.SHA2_256: hashlib.sha256, MatchingType.SHA2_512: hashlib.sha512}
_DIGEST_OCTETS = {MatchingType.SHA2_256: 32, MatchingType.SHA2_512: 64}

# Strongest first (RFC 7671 section 9). Full(0) is not a digest, and always counts.
DIGEST_PREFERENCE = (MatchingType.SHA2_512, MatchingType.SHA2_256)


class TlsaRecord(NamedTuple):
    """One TLSA record, with any values: unusable records are shown to operators, too."""

    usage: int
    selector: int
    matching_type: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching_type} {self.data.hex()}"

    @property
    def short(self) -> str:
        """As `str`, but with long data cut, for logs and terminals."""
        data = self.data.hex()
        return f"{self.usage} {self.selector} {self.matching_type} {data if len(data) <= 24 else data[:24] + '…'}"

    @classmethod
    def from_text(cls, text: str) -> TlsaRecord:
        """Parse the presentation format (RFC 6698 section 2.2). Raises ValueError, which says what is expected."""
        parts = text.split()
        if len(parts) < 4:
            raise ValueError(f"{text!r}: usage, selector, matching type and hexadecimal data expected")
        try:
            if not all(part.isascii() and part.isdigit() for part in parts[:3]):
                raise ValueError("digits only in a number")
            numbers = [int(part) for part in parts[:3]]
            data = bytes.fromhex("".join(parts[3:]))
        except ValueError as error:
            raise ValueError(f"{text!r}: three numbers and hexadecimal data expected ({error})") from error
        if any(not 0 <= number <= 255 for number in numbers):
            raise ValueError(f"{text!r}: numbers from 0 to 255 expected")
        usage, selector, matching_type = numbers
        return cls(usage, selector, matching_type, data)


def unusable_reason(record: TlsaRecord, *, allow_pkix_cd: bool = False) -> str | None:
    """Why a record is unusable; None if it is usable.

    An unusable record does not affect the others (RFC 6698 section 4.1, RFC 7671 section 10.3).
    """
    usages = 5 if allow_pkix_cd else 4
    if record.usage >= usages:
        if record.usage == Usage.PKIX_CD:
            return "usage 4 (PKIX-CD) is not assigned and policy does not opt in"
        return f"unknown usage {record.usage}"
    if record.selector not in (Selector.CERT, Selector.SPKI):
        return f"unknown selector {record.selector}"
    if record.matching_type == MatchingType.FULL:
        return _malformed_full(record)
    if record.matching_type not in _DIGEST_OCTETS:
        return f"unknown matching type {record.matching_type}"
    expected = _DIGEST_OCTETS[MatchingType(record.matching_type)]
    if len(record.data) != expected:
        return f"digest of {len(record.data)} octets, {expected} expected"
    return None


def _malformed_full(record: TlsaRecord) -> str | None:
    try:
        if record.selector == Selector.CERT:
            parse_leaf(record.data)
        else:
            info = der.only(record.data, der.SEQUENCE, "SubjectPublicKeyInfo")
            parts = list(der.children(record.data, info))
            if [part.tag for part in parts] != [der.SEQUENCE, der.BIT_STRING]:
                raise der.DerError("SubjectPublicKeyInfo: algorithm and BIT STRING expected")
    except (Refused, der.DerError) as error:
        what = "certificate" if record.selector == Selector.CERT else "public key"
        return f"{len(record.data)} octets that are no DER {what} ({error})"
    return None


@dataclass(frozen=True, slots=True)
class Selection:
    """The records of a TLSA RRset that count, and those that are set aside, each with its reason."""

    usable: tuple[TlsaRecord, ...]
    set_aside: tuple[tuple[TlsaRecord, str], ...]


def select(records: Iterable[TlsaRecord], *, allow_pkix_cd: bool = False) -> Selection:
    """Set aside unusable records, and then apply digest agility (RFC 7671 section 9).

    For each usage and selector, the Full(0) records and those with the strongest published digest count. Records with a
    weaker digest are set aside, even if they would match.
    """
    usable: list[TlsaRecord] = []
    set_aside: list[tuple[TlsaRecord, str]] = []
    for record in dict.fromkeys(records):
        reason = unusable_reason(record, allow_pkix_cd=allow_pkix_cd)
        if reason is None:
            usable.append(record)
        else:
            set_aside.append((record, reason))
    strongest: dict[tuple[int, int], int] = {}
    for digest in reversed(DIGEST_PREFERENCE):
        for record in usable:
            if record.matching_type == digest:
                strongest[record.usage, record.selector] = digest
    counted = []
    for record in usable:
        best = strongest.get((record.usage, record.selector))
        if record.matching_type == MatchingType.FULL or record.matching_type == best:
            counted.append(record)
        else:
            set_aside.append(
                (record, f"a stronger digest (matching type {best}) is published for this usage and selector")
            )
    return Selection(tuple(counted), tuple(set_aside))


def association(certificate: bytes, spki: bytes, selector: int, matching_type: int) -> bytes:
    """The certificate association data of a certificate (RFC 6698 section 2.1.4).

    Raises ValueError for an undefined selector or matching type.
    """
    selected = {Selector.CERT: certificate, Selector.SPKI: spki}[Selector(selector)]
    kind = MatchingType(matching_type)
    return selected if kind == MatchingType.FULL else _DIGESTS[kind](selected).digest()


def matches(record: TlsaRecord, certificate: bytes, spki: bytes) -> bool:
    """Whether a usable record matches a certificate, given its exact bytes and those of its key."""
    return hmac.compare_digest(record.data, association(certificate, spki, record.selector, record.matching_type))


def first_match(records: Sequence[TlsaRecord], certificate: bytes, spki: bytes) -> TlsaRecord | None:
    """The first of `records` that matches, or None. Each digest of the certificate is computed only once."""
    wanted: dict[tuple[int, int], bytes] = {}
    for record in records:
        kind = (record.selector, record.matching_type)
        if kind not in wanted:
            wanted[kind] = association(certificate, spki, *kind)
        if hmac.compare_digest(record.data, wanted[kind]):
            return record
    return None

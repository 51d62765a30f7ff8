"""What the DNS can say about a name's TLSA records. Only `Secure` can ever lead to an accept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from dane_radius.core.tlsa import TlsaRecord


class Absence(StrEnum):
    """How a name has no TLSA records."""

    NXDOMAIN = "NXDOMAIN"
    NODATA = "NODATA"


class Secure(NamedTuple):
    """A DNSSEC-validated TLSA RRset. `ttl`: seconds that it may still be used, at the time of the answer.

    `malformed` explains each record of the RRset that was too broken to be a record at all. `canonical_name` is where
    the RRset stood, if CNAMEs led there.
    """

    records: tuple[TlsaRecord, ...]
    ttl: int
    malformed: tuple[str, ...] = ()
    canonical_name: str | None = None
    stale: bool = False

    def aged(self, ttl: int) -> Secure:
        """The same answer, with what is left of its TTL."""
        return Secure(self.records, ttl, self.malformed, self.canonical_name, self.stale)


class SecureAbsent(NamedTuple):
    """A DNSSEC-validated denial: the name, or its TLSA RRset, provably does not exist."""

    absence: Absence
    ttl: int

    def aged(self, ttl: int) -> SecureAbsent:
        """The same answer, with what is left of its TTL."""
        return SecureAbsent(self.absence, ttl)


@dataclass(frozen=True, slots=True)
class Insecure:
    """The resolver could not validate: the zone, or a hop on the way, is not signed. What it says is not used."""

    detail: str
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Bogus:
    """DNSSEC validation failed. `ede_code` and `ede_text`: the resolver's extended DNS error (RFC 8914)."""

    ede_code: int
    ede_text: str
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No usable answer: time-out, SERVFAIL without a DNSSEC cause, REFUSED, a malformed message."""

    detail: str
    overloaded: bool = False


Answer = Secure | SecureAbsent | Insecure | Bogus | Unavailable

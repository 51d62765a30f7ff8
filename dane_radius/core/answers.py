"""The possible results of a lookup of a name's TLSA records. Only `Secure` can lead to an accept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from dane_radius.core.tlsa import TlsaRecord


class Absence(StrEnum):
    """How the DNS says that a name has no TLSA records."""

    NXDOMAIN = "NXDOMAIN"
    NODATA = "NODATA"


class Secure(NamedTuple):
    """A DNSSEC-validated TLSA RRset. `ttl`: the remaining TTL in seconds.

    `malformed` explains each record of the RRset that could not be parsed. `canonical_name` is the owner of the RRset,
    if CNAMEs led to it. `stale`: the TTL is over, but `stale_grace` allows the answer.
    """

    records: tuple[TlsaRecord, ...]
    ttl: int
    malformed: tuple[str, ...] = ()
    canonical_name: str | None = None
    stale: bool = False

    def aged(self, ttl: int) -> Secure:
        """The same answer with another remaining TTL."""
        return Secure(self.records, ttl, self.malformed, self.canonical_name, self.stale)


class SecureAbsent(NamedTuple):
    """A DNSSEC-validated denial of existence, of the name or of its TLSA RRset. `ttl`: the remaining TTL in seconds."""

    absence: Absence
    ttl: int

    def aged(self, ttl: int) -> SecureAbsent:
        """The same answer with another remaining TTL."""
        return SecureAbsent(self.absence, ttl)


@dataclass(frozen=True, slots=True)
class Insecure:
    """An answer without DNSSEC validation: its zone, or the zone of a CNAME on the way to it, is not signed."""

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
    """No usable answer: a timeout, SERVFAIL without a DNSSEC cause, REFUSED, or a malformed message.

    `overloaded`: the lookup or the wait for it was refused because of a limit of this process.
    """

    detail: str
    overloaded: bool = False


Answer = Secure | SecureAbsent | Insecure | Bogus | Unavailable

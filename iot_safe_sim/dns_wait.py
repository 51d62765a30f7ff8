"""Waiting until the DNS vouches for the certificate: its TLSA record served, and validated by the resolver."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: Between two questions: often at first (a registry publishes within a second), then less often.
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
QUERY_TIMEOUT = 3.0


class TlsaState(StrEnum):
    """What one question found."""

    VOUCHED = "vouched"
    OTHER_RECORDS = "other-records"
    ABSENT = "absent"
    INSECURE = "insecure"
    BOGUS = "bogus"
    UNAVAILABLE = "unavailable"


class ResolverAddressError(ValueError):
    """Not HOST:PORT with an IP address."""


@dataclass(frozen=True)
class Resolver:
    """A validating resolver. The path to it is trusted (the AD bit is not signed): loopback or the own network."""

    host: str
    port: int = 53
    #: Seconds that one question may take.
    timeout: float = QUERY_TIMEOUT

    @classmethod
    def parse(cls, text: str) -> Resolver:
        """From ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. Raises ResolverAddressError."""
        host, port = text, "53"
        if text.startswith("["):
            host, _, rest = text[1:].partition("]")
            port = rest.removeprefix(":") or "53"
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        try:
            ipaddress.ip_address(host)
            number = int(port)
        except ValueError:
            number = 0
        if not 0 < number < 65536:
            raise ResolverAddressError(f"resolver {text!r}: expected ADDRESS or ADDRESS:PORT")
        return cls(host, number)

    def look(self, name: str, certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> TlsaState:
        """Ask once whether the TLSA records of `name` vouch for the certificate."""
        query = dns.message.make_query(dns.name.from_text(name), dns.rdatatype.TLSA, want_dnssec=False)
        query.flags |= dns.flags.AD
        query.use_edns(0, payload=1232)
        try:
            answer, _ = dns.query.udp_with_fallback(query, self.host, self.timeout, self.port)
        except (OSError, dns.exception.DNSException):
            return TlsaState.UNAVAILABLE
        if answer.rcode() == dns.rcode.SERVFAIL:
            return TlsaState.BOGUS if _has_dnssec_error(answer) else TlsaState.UNAVAILABLE
        if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return TlsaState.UNAVAILABLE
        if not answer.flags & dns.flags.AD:
            return TlsaState.INSECURE
        records = [record for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TLSA for record in rrset]
        if not records:
            return TlsaState.ABSENT
        vouched = any(
            vouches(record.usage, record.selector, record.mtype, record.cert, certificate, issuers)
            for record in records
        )
        return TlsaState.VOUCHED if vouched else TlsaState.OTHER_RECORDS


def vouches(
    usage: int,
    selector: int,
    matching_type: int,
    data: bytes,
    certificate: x509.Certificate,
    issuers: Sequence[x509.Certificate],
) -> bool:
    """Whether one TLSA record (RFC 6698 section 2.1) is about the certificate or, by usage, one of its issuers.

    Usages 0 and 2 name a CA, 1 and 3 the certificate itself, 4 (PKIX-CD) either.
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


def _has_dnssec_error(answer: dns.message.Message) -> bool:
    """An extended error (RFC 8914) that blames DNSSEC: codes 1, 2 and 5 to 12."""
    return any(getattr(option, "code", None) in {1, 2, *range(5, 13)} for option in answer.options)


@dataclass(frozen=True)
class TlsaWait:
    """Asks again until the record is there or `timeout` (seconds) is over. `progress` gets each change of state."""

    resolver: Resolver
    timeout: float
    progress: Callable[[TlsaState, float], None] = lambda state, seconds: None
    sleep: Callable[[float], None] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)

    def wait(self, name: str, certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> TlsaState:
        """Give the last state: VOUCHED, or why it was given up."""
        begun, pause, before = self.clock(), FIRST_PAUSE, None
        while True:
            state = self.resolver.look(name, certificate, issuers)
            waited = self.clock() - begun
            if state != before:
                self.progress(state, waited)
                before = state
            if state is TlsaState.VOUCHED or waited + pause > self.timeout:
                return state
            self.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

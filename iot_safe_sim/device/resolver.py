"""A query to a validating resolver: are the device's TLSA records published and validated?"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
from cryptography import x509

from iot_safe_sim.device.names import identity_domain
from iot_safe_sim.device.tlsa import TlsaState, tlsa_matches

QUERY_TIMEOUT = 3.0
#: Seconds and tries of the check whether the resolver is usable at all.
CHECK_TIMEOUT, CHECK_TRIES = 1.5, 2


class ResolverAddressError(ValueError):
    """Not HOST:PORT with an IP address."""


@dataclass(frozen=True)
class Resolver:
    """A validating resolver. The path to it must be trusted (loopback or the own network): the AD bit is not signed."""

    host: str
    port: int = 53
    #: Seconds that one query may take.
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

    def query_tlsa(self, name: str, certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> TlsaState:
        """Query the TLSA records of `name` once, and compare them with the certificate. Raises nothing."""
        query = _query(name, dns.rdatatype.TLSA)
        try:
            answer = self._ask(query, self.timeout)
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
        matched = any(
            tlsa_matches(record.usage, record.selector, record.mtype, record.cert, certificate, issuers)
            for record in records
        )
        return TlsaState.VOUCHED if matched else TlsaState.OTHER_RECORDS

    def fault(self, name: str) -> str | None:
        """Why this resolver cannot validate records of `name`, as text; None when no reason is found.

        The query is for the SOA record of the identity domain. A query for the device's own record, before the record
        exists, would make the resolver cache its absence. A domain whose validation fails is not the resolver's fault,
        and may validate again later.
        """
        domain = identity_domain(name)
        query = _query(domain, dns.rdatatype.SOA)
        why = ""
        for _ in range(CHECK_TRIES):
            try:
                answer = self._ask(query, min(CHECK_TIMEOUT, self.timeout))
            except OSError as error:
                why = error.strerror or type(error).__name__
                continue
            except dns.exception.DNSException as error:
                why = type(error).__name__
                continue
            if answer.rcode() == dns.rcode.SERVFAIL and _has_dnssec_error(answer):
                return None
            if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                why = f"{dns.rcode.to_text(answer.rcode())} for {domain}"
                continue
            if answer.flags & dns.flags.AD:
                return None
            return (
                f"the resolver {self} answers for {domain} without validation (no AD bit): it does not validate, "
                "or lacks the trust anchor, or the domain is not signed"
            )
        return f"the resolver {self} does not answer ({why}), expected a validating one"

    def _ask(self, query: dns.message.Message, timeout: float) -> dns.message.Message:
        """Raises OSError and DNSException."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            # Connected, so that a port where nothing listens is an error at once, and not a timeout.
            sock.connect((self.host, self.port))
            answer, _ = dns.query.udp_with_fallback(query, self.host, timeout, self.port, udp_sock=sock)
        return answer

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _query(name: str, kind: dns.rdatatype.RdataType) -> dns.message.Message:
    """A query that asks for the AD bit (RFC 6840 section 5.7)."""
    query = dns.message.make_query(dns.name.from_text(name), kind, want_dnssec=False)
    query.flags |= dns.flags.AD
    query.use_edns(0, payload=1232)
    return query


def _has_dnssec_error(answer: dns.message.Message) -> bool:
    """Whether an extended error (RFC 8914) says that validation failed: codes 1, 2 and 5 to 12."""
    return any(getattr(option, "code", None) in {1, 2, *range(5, 13)} for option in answer.options)

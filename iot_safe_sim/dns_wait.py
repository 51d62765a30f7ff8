"""Waiting until the DNS vouches for the certificate: its TLSA record served, and validated by the resolver."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
#: Before there is anything to wait for: whether the resolver is of any use is told within this (seconds, and tries).
CHECK_TIMEOUT, CHECK_TRIES = 1.5, 2
#: How often a wait without change says that it is still going on.
REMIND_SECONDS = 10.0


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
        vouched = any(
            vouches(record.usage, record.selector, record.mtype, record.cert, certificate, issuers)
            for record in records
        )
        return TlsaState.VOUCHED if vouched else TlsaState.OTHER_RECORDS

    def fault(self, name: str) -> str | None:
        """Why this resolver will never vouch for `name`, in words; None: nothing speaks against it.

        It asks for the SOA of the identity domain, which exists (its answer, negative or not, is not the device's own:
        to ask for that before its record is there would have the resolver remember that there is none). A domain whose
        validation fails is no fault of the resolver's: that may pass.
        """
        domain = identity_domain(name)
        query = dns.message.make_query(dns.name.from_text(domain), dns.rdatatype.SOA, want_dnssec=False)
        query.flags |= dns.flags.AD
        query.use_edns(0, payload=1232)
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
            # Connected, so that a port where nobody listens is known at once and not by a time-out.
            sock.connect((self.host, self.port))
            answer, _ = dns.query.udp_with_fallback(query, self.host, timeout, self.port, udp_sock=sock)
        return answer

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def identity_domain(name: str) -> str:
    """The identity domain of a device name: what follows the label `_device`, else the first label."""
    _, found, rest = name.lower().partition("._device.")
    return rest if found else name.lower().partition(".")[2]


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
    """Asks again until the record is there or `timeout` (seconds) is over.

    progress: gets each change of state, and the state once more every REMIND_SECONDS without one.
    complain: gets what is wrong with the resolver, in words, before anything else is done.
    """

    resolver: Resolver
    timeout: float
    progress: Callable[[TlsaState, float], None] = lambda state, seconds: None
    complain: Callable[[str], None] = lambda text: None
    sleep: Callable[[float], None] = field(default=time.sleep)
    clock: Callable[[], float] = field(default=time.monotonic)

    def checked(self, name: str) -> TlsaWait:
        """This wait; with a resolver that is of no use one that asks once and gives up, after saying why."""
        fault = self.resolver.fault(name)
        if fault is None:
            return self
        self.complain(fault)
        return replace(self, timeout=0.0)

    def wait(self, name: str, certificate: x509.Certificate, issuers: Sequence[x509.Certificate]) -> TlsaState:
        """Give the last state: VOUCHED, or why it was given up."""
        begun, pause, before, told = self.clock(), FIRST_PAUSE, None, 0.0
        while True:
            state = self.resolver.look(name, certificate, issuers)
            waited = self.clock() - begun
            if state != before or waited - told >= REMIND_SECONDS:
                self.progress(state, waited)
                before, told = state, waited
            if state is TlsaState.VOUCHED or waited + pause > self.timeout:
                return state
            self.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

"""The closed sets of statuses and reasons of a discovery, for log, metrics, socket and command line. Pure."""

from __future__ import annotations

from enum import StrEnum

from dane_radius.core import Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from trust_sync.anchors import CertificateProblem


class DiscoveryStatus(StrEnum):
    """The result of a discovery."""

    KNOWN = "known"
    FOUND = "found"
    PENDING = "pending"
    REFUSED = "refused"


class Reason(StrEnum):
    """The reason of a result. The values are stable, because operators alert on them."""

    INSTALLED = "installed"
    ANCHOR_KNOWN = "anchor_known"
    STILL_LOOKING = "still_looking"

    # Refused before any lookup
    DISABLED = "disabled"
    NAME_MALFORMED = "name_malformed"
    POLICY_NO_RULE = "policy_no_rule"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    FAILED_RECENTLY = "failed_recently"
    TOO_MANY_ANCHORS = "too_many_anchors"

    # DNS
    TLSA_ABSENT = "tlsa_absent"
    DNS_INSECURE = "dns_insecure"
    DNS_BOGUS = "dns_bogus"
    DNS_UNAVAILABLE = "dns_unavailable"
    NO_CERTIFICATE_IN_DNS = "no_certificate_in_dns"

    # PKIX-CD
    NO_KEY_IDENTIFIER = "no_key_identifier"
    NO_AUTHORITY = "no_authority"
    ADDRESS_REFUSED = "address_refused"
    ADDRESS_UNAVAILABLE = "address_unavailable"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMEOUT = "timeout"
    REDIRECT = "redirect"
    STATUS = "status"
    TOO_LARGE = "too_large"

    # Certificate
    NOT_A_CERTIFICATE = "not_a_certificate"
    NOT_A_CA = "not_a_ca"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_KEY_IDENTIFIER = "wrong_key_identifier"
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_NAME = "wrong_name"
    NAME_CONSTRAINED = "name_constrained"
    TOO_COMPLEX = "too_complex"

    # Local
    SHADOWS = "shadows"
    STORE_FAILED = "store_failed"
    INTERNAL_ERROR = "internal_error"


class FetchProblem(StrEnum):
    """Why a file was not fetched."""

    ADDRESS_REFUSED = "address_refused"
    ADDRESS_UNAVAILABLE = "address_unavailable"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMEOUT = "timeout"
    REDIRECT = "redirect"
    STATUS = "status"
    TOO_LARGE = "too_large"


def reason_of_fetch(problem: FetchProblem) -> Reason:
    """The reason for a failed fetch."""
    return Reason(problem.value)


def reason_of_certificate(problem: CertificateProblem) -> Reason:
    """The reason for a refused certificate."""
    return Reason(problem.value)


def reason_of_answer(answer: Answer) -> tuple[Reason, str] | None:
    """The reason why a DNS answer is unusable, with a description. None: it is a secure RRset."""
    match answer:
        case Secure():
            return None
        case SecureAbsent(absence, _):
            return Reason.TLSA_ABSENT, f"provably no TLSA record ({absence})"
        case Insecure(detail):
            return Reason.DNS_INSECURE, detail
        case Bogus(code, text):
            return Reason.DNS_BOGUS, f"DNSSEC validation failed (EDE {code}{f': {text}' if text else ''})"
        case Unavailable(detail):
            return Reason.DNS_UNAVAILABLE, detail

"""The closed set of reasons for what a discovery came to. Log, metric, socket and command line all carry it."""

from __future__ import annotations

from enum import StrEnum

from dane_radius.core import Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from trust_sync.certificate import CertificateProblem
from trust_sync.fetch import FetchProblem


class State(StrEnum):
    """What a discovery came to."""

    KNOWN = "known"
    FOUND = "found"
    PENDING = "pending"
    REFUSED = "refused"


class Reason(StrEnum):
    """Why. The values are stable: operators alert on them."""

    INSTALLED = "installed"
    ANCHOR_KNOWN = "anchor_known"
    STILL_LOOKING = "still_looking"

    # refused before anything was asked
    DISABLED = "disabled"
    NAME_MALFORMED = "name_malformed"
    POLICY_NO_RULE = "policy_no_rule"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    FAILED_RECENTLY = "failed_recently"
    TOO_MANY_ANCHORS = "too_many_anchors"

    # the DNS
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

    # the certificate
    NOT_A_CERTIFICATE = "not_a_certificate"
    NOT_A_CA = "not_a_ca"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_KEY_IDENTIFIER = "wrong_key_identifier"
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_NAME = "wrong_name"
    NAME_CONSTRAINED = "name_constrained"
    TOO_COMPLEX = "too_complex"

    # ours
    SHADOWS = "shadows"
    STORE_FAILED = "store_failed"
    INTERNAL_ERROR = "internal_error"


def of_fetch(problem: FetchProblem) -> Reason:
    return Reason(problem.value)


def of_certificate(problem: CertificateProblem) -> Reason:
    return Reason(problem.value)


def of_answer(answer: Answer) -> tuple[Reason, str] | None:
    """Why a DNS answer cannot be used, None for a secure RRset."""
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

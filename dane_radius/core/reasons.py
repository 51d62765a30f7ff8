"""The closed set of reason codes. Reply, log, metrics and command line give the reason code of a decision."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """The verdict that FreeRADIUS gets."""

    ACCEPT = "accept"
    REJECT = "reject"


class ReasonCode(StrEnum):
    """The reason for a verdict. The values are stable, because operators define alerts on them."""

    # accepted
    DANE_MATCH = "dane_match"

    # the TLS session that should contain the certificate
    SESSION_FILE_MISSING = "session_file_missing"
    SESSION_FILE_UNREADABLE = "session_file_unreadable"
    SESSION_FILE_MALFORMED = "session_file_malformed"
    SESSION_WITHOUT_CERTIFICATE = "session_without_certificate"
    RESUMPTION_DATA_MISSING = "resumption_data_missing"
    RESUMPTION_DATA_INVALID = "resumption_data_invalid"

    # the certificate and its name
    CERTIFICATE_MALFORMED = "certificate_malformed"
    CERTIFICATE_OVERSIZED = "certificate_oversized"
    CERTIFICATE_KEY_UNUSABLE = "certificate_key_unusable"
    SAN_MISSING = "san_missing"
    SAN_EMPTY = "san_empty"
    SAN_MALFORMED = "san_malformed"
    SAN_OVERSIZED = "san_oversized"
    SAN_WITHOUT_DNS_NAME = "san_without_dns_name"
    SAN_IP_ADDRESS = "san_ip_address"
    SAN_AMBIGUOUS = "san_ambiguous"
    NAME_NUL = "name_nul"
    NAME_WILDCARD = "name_wildcard"
    NAME_IP_LITERAL = "name_ip_literal"
    NAME_TOO_LONG = "name_too_long"
    NAME_MALFORMED = "name_malformed"

    # policy
    POLICY_NO_RULE = "policy_no_rule"
    POLICY_NETWORK = "policy_network"
    POLICY_TIME = "policy_time"
    POLICY_STRENGTH = "policy_strength"
    POLICY_DENIED = "policy_denied"

    # the standing of the device
    DEVICE_BLOCKED = "device_blocked"
    DEVICE_QUARANTINED = "device_quarantined"
    APPROVAL_PENDING = "approval_pending"
    ZONE_UNKNOWN = "zone_unknown"
    STANDING_UNAVAILABLE = "standing_unavailable"

    # the DNS
    TLSA_ABSENT = "tlsa_absent"
    DNS_INSECURE = "dns_insecure"
    DNS_BOGUS = "dns_bogus"
    DNS_UNAVAILABLE = "dns_unavailable"
    DNS_OVERLOADED = "dns_overloaded"

    # the match
    TLSA_UNUSABLE = "tlsa_unusable"
    TLSA_MISMATCH = "tlsa_mismatch"
    CHAIN_INVALID = "chain_invalid"
    CHAIN_TOO_COMPLEX = "chain_too_complex"

    # an unexpected exception
    INTERNAL_ERROR = "internal_error"


class Refused(Exception):
    """A check before or in a decision has failed. The decision is a reject, or a monitored accept, with `code`."""

    def __init__(self, code: ReasonCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

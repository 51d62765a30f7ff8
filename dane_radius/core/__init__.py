"""The decision and what it is made of: pure functions over values and a clock, without any I/O.

From bytes to names: `der`, `certificate`, `names`. What the DNS can say, and which of its records match: `answers`,
`tlsa`. Certification paths: `anchor_record`, `name_constraints`, `chain`, and `work`, which bounds their cost. Who may
enter, and why not: `reasons`, `ruling`, `path_match`, `decision`.
"""

from dane_radius.core.anchor_record import (
    INDEX_FORMAT,
    INDEX_VERSION,
    Anchor,
    AnchorError,
    AnchorRecord,
    AnchorSource,
    parse_index_line,
    pem_to_der,
)
from dane_radius.core.answers import Absence, Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from dane_radius.core.certificate import MAX_CERTIFICATE_OCTETS, Leaf, candidate_names, parse_leaf
from dane_radius.core.decision import Prepared, conclude, prepare
from dane_radius.core.names import authority_host, identity_domain, is_within, normalize
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.core.ruling import Decision, Evidence, Ruling, refuse
from dane_radius.core.tlsa import MatchingType, Selector, TlsaRecord, Usage, association, matches, select
from dane_radius.core.work import MAX_CHAIN_CERTIFICATE_OCTETS, MAX_RSA_BITS, MAX_RSA_EXPONENT_BITS

__all__ = [
    "INDEX_FORMAT",
    "INDEX_VERSION",
    "MAX_CERTIFICATE_OCTETS",
    "MAX_CHAIN_CERTIFICATE_OCTETS",
    "MAX_RSA_BITS",
    "MAX_RSA_EXPONENT_BITS",
    "Absence",
    "Anchor",
    "AnchorError",
    "AnchorRecord",
    "AnchorSource",
    "Answer",
    "Bogus",
    "Decision",
    "Evidence",
    "Insecure",
    "Leaf",
    "MatchingType",
    "Prepared",
    "ReasonCode",
    "Refused",
    "Ruling",
    "Secure",
    "SecureAbsent",
    "Selector",
    "TlsaRecord",
    "Unavailable",
    "Usage",
    "Verdict",
    "association",
    "authority_host",
    "candidate_names",
    "conclude",
    "identity_domain",
    "is_within",
    "matches",
    "normalize",
    "parse_index_line",
    "parse_leaf",
    "pem_to_der",
    "prepare",
    "refuse",
    "select",
]

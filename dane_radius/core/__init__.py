"""The decision, as pure functions over values and a given time, without any I/O.

Certificates and their names: `der`, `certificate`, `names`. DNS answers and matching TLSA records: `answers`, `tlsa`.
Certification paths: `anchor_record`, `name_constraints`, `chain`, `path_match`, and `work`, which limits their cost.
Verdicts and their reasons: `reasons`, `ruling`, `decision`, and `first_pass`, which remembers its first half.
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
from dane_radius.core.decision import Prepared, StandingOf, conclude, is_enforced, nothing_known, prepare, reason_of
from dane_radius.core.der import OBJECT_IDENTIFIER as DER_OBJECT_IDENTIFIER
from dane_radius.core.der import SEQUENCE as DER_SEQUENCE
from dane_radius.core.der import DerError
from dane_radius.core.der import Tlv as DerElement
from dane_radius.core.der import children as der_children
from dane_radius.core.der import only as der_only
from dane_radius.core.first_pass import FirstPass, still_holds
from dane_radius.core.names import authority_host, identity_domain, is_within, normalize
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.core.ruling import Decision, Evidence, Ruling, refuse
from dane_radius.core.tlsa import MatchingType, Selector, TlsaRecord, Usage, association, matches, select
from dane_radius.core.work import MAX_CHAIN_CERTIFICATE_OCTETS, MAX_RSA_BITS, MAX_RSA_EXPONENT_BITS

__all__ = [
    "DER_OBJECT_IDENTIFIER",
    "DER_SEQUENCE",
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
    "DerElement",
    "DerError",
    "Evidence",
    "FirstPass",
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
    "StandingOf",
    "TlsaRecord",
    "Unavailable",
    "Usage",
    "Verdict",
    "association",
    "authority_host",
    "candidate_names",
    "conclude",
    "der_children",
    "der_only",
    "identity_domain",
    "is_enforced",
    "is_within",
    "matches",
    "normalize",
    "nothing_known",
    "parse_index_line",
    "parse_leaf",
    "pem_to_der",
    "prepare",
    "reason_of",
    "refuse",
    "select",
    "still_holds",
]

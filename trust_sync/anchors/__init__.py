"""The trust anchors on disk: what a certificate must be to become one, which one may stay, and crash-safe changes.

Pure: `openssl_name`, `certificate`, `checks`, `shadowing`, `held_anchors`, `retirement`. Files: `files`, `journal`,
`hashed_directory`, `store`. May import `dane_radius.core` and `dane_radius.local`, and no other room.
"""

from trust_sync.anchors.certificate import (
    Certificate,
    CertificateProblem,
    CertificateRefused,
    parse_certificate,
    parse_pem,
)
from trust_sync.anchors.checks import check_authority, check_complexity, check_device_certificate, check_issued
from trust_sync.anchors.held_anchors import DISCOVERED, HeldAnchors
from trust_sync.anchors.metrics import AnchorMetrics
from trust_sync.anchors.retirement import Holding, retire
from trust_sync.anchors.store import AnchorStore, ShadowError, StoreError, TooManyDomainsError

__all__ = [
    "DISCOVERED",
    "AnchorMetrics",
    "AnchorStore",
    "Certificate",
    "CertificateProblem",
    "CertificateRefused",
    "HeldAnchors",
    "Holding",
    "ShadowError",
    "StoreError",
    "TooManyDomainsError",
    "check_authority",
    "check_complexity",
    "check_device_certificate",
    "check_issued",
    "parse_certificate",
    "parse_pem",
    "retire",
]

"""Why a signature is not accepted."""

from __future__ import annotations

from enum import StrEnum


class SignatureReason(StrEnum):
    """The reasons. The set is closed."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    ATTACHED = "attached"
    CONTENT_TYPE = "content_type"
    SIGNERS = "signers"
    NO_CERTIFICATE = "no_certificate"
    DIGEST = "digest"
    ATTRIBUTES = "attributes"
    CONTENT_CHANGED = "content_changed"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    KEY_USAGE = "key_usage"
    PURPOSE = "purpose"
    CHAIN = "chain"
    MUDSIGNER = "mudsigner"
    # Everything is right except the time: the signature was valid once, and a certificate has expired since.
    EXPIRED = "expired"


class SignatureRefused(ValueError):
    """A signature that is not accepted, for `reason`."""

    def __init__(self, reason: SignatureReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

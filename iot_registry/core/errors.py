"""Why the registry refuses a request: a closed enumeration, and the exception that carries it.

Every refusal that a client sees is a `Refused`. `iot_registry.https.problem` turns it into an RFC 7807 body, and the
commands print it. Programming errors stay ordinary exceptions.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a request was refused. The value is part of the API (`reason` in the problem body)."""

    # The caller (401, 403, 429).
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate-limited"
    # The request itself (400, 405, 408, 413, 415).
    MALFORMED = "malformed"
    INVALID_FIELD = "invalid-field"
    UNKNOWN_FIELD = "unknown-field"
    INVALID_NAME = "invalid-name"
    BAD_MEDIA_TYPE = "bad-media-type"
    BAD_ENCODING = "bad-encoding"
    TOO_LARGE = "too-large"
    TOO_SLOW = "too-slow"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    # The certificate request (400).
    CSR_MALFORMED = "csr-malformed"
    CSR_BAD_SIGNATURE = "csr-bad-signature"
    CSR_WEAK_KEY = "csr-weak-key"
    CSR_FOREIGN_NAME = "csr-foreign-name"
    CSR_EXTENSION = "csr-extension"
    CSR_WANTS_CA = "csr-wants-ca"
    KEY_REUSED = "key-reused"
    # The state of what is asked for (404, 409, 410).
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    HISTORY_GONE = "history-gone"
    # A failure of the registry itself (500, 503).
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


HTTP_STATUS: dict[Reason, int] = {
    Reason.UNAUTHENTICATED: 401,
    Reason.FORBIDDEN: 403,
    Reason.RATE_LIMITED: 429,
    Reason.MALFORMED: 400,
    Reason.INVALID_FIELD: 400,
    Reason.UNKNOWN_FIELD: 400,
    Reason.INVALID_NAME: 400,
    Reason.BAD_MEDIA_TYPE: 415,
    Reason.BAD_ENCODING: 400,
    Reason.TOO_LARGE: 413,
    Reason.TOO_SLOW: 408,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.CSR_MALFORMED: 400,
    Reason.CSR_BAD_SIGNATURE: 400,
    Reason.CSR_WEAK_KEY: 400,
    Reason.CSR_FOREIGN_NAME: 400,
    Reason.CSR_EXTENSION: 400,
    Reason.CSR_WANTS_CA: 400,
    Reason.KEY_REUSED: 409,
    Reason.NOT_FOUND: 404,
    Reason.CONFLICT: 409,
    Reason.HISTORY_GONE: 410,
    Reason.UNAVAILABLE: 503,
    Reason.INTERNAL: 500,
}


class Refused(Exception):
    """A request that the registry does not carry out. Nothing was written.

    detail: one sentence for a person: what was found, what is expected, and what to do.
    field: the field of the request that is at fault (`csr`, `name`, ...); None: no single field is.
    retry_after: seconds after which the same request may succeed; None: a repetition does not help.
    """

    def __init__(
        self, reason: Reason, detail: str, *, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        return HTTP_STATUS[self.reason]


class ConfigurationError(Exception):
    """The configuration, a key file or the state directory cannot be used. The message says what to change."""

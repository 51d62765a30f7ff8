"""Why a service refuses a request: closed enumerations, and the exception that carries a reason.

Every refusal that a client sees is a `Refused`. `web_service.https.problem` turns it into an RFC 7807 body, and the
commands print it. Programming errors stay ordinary exceptions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class RefusalReason(StrEnum):
    """A set of reasons, each with the HTTP status of its refusals. A service may have a set of its own beside `Reason`.

    The value of a reason is part of the API (`reason` in the problem body).
    """

    status: int

    def __new__(cls, value: str, status: int) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        return member


class Reason(RefusalReason):
    """Why a request was refused, whatever the service."""

    # The caller.
    UNAUTHENTICATED = "unauthenticated", 401
    FORBIDDEN = "forbidden", 403
    RATE_LIMITED = "rate-limited", 429
    # The request itself.
    MALFORMED = "malformed", 400
    INVALID_FIELD = "invalid-field", 400
    UNKNOWN_FIELD = "unknown-field", 400
    INVALID_NAME = "invalid-name", 400
    BAD_MEDIA_TYPE = "bad-media-type", 415
    TOO_LARGE = "too-large", 413
    TOO_SLOW = "too-slow", 408
    METHOD_NOT_ALLOWED = "method-not-allowed", 405
    # The state of what is asked for.
    NOT_FOUND = "not-found", 404
    CONFLICT = "conflict", 409
    HISTORY_GONE = "history-gone", 410
    # A failure of the service itself.
    UNAVAILABLE = "unavailable", 503
    INTERNAL = "internal", 500


class Refused(Exception):
    """A request that the service does not carry out. Nothing was written.

    detail: one sentence for a person: what was found, what is expected, and what to do.
    field: the field of the request that is at fault (`csr`, `name`, ...); None: no single field is.
    retry_after: seconds after which the same request may succeed; None: a repetition does not help.
    """

    def __init__(
        self, reason: RefusalReason, detail: str, *, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.field = field
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        return self.reason.status


class ConfigurationError(Exception):
    """The configuration, a key file or the state directory cannot be used. The message says what to change."""

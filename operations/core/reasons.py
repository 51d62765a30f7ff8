"""Why a request is refused, beside the reasons that every service has (`web_service.core`)."""

from __future__ import annotations

from web_service.core import RefusalReason


class ScimReason(RefusalReason):
    """What is wrong with a SCIM request (RFC 7644 section 3.12)."""

    INVALID_FILTER = "invalid-filter", 400
    INVALID_PATH = "invalid-path", 400
    MUTABILITY = "mutability", 400
    NO_TARGET = "no-target", 400


class StandingReason(RefusalReason):
    """What is wrong with a change of standing."""

    UNKNOWN_ZONE = "unknown-zone", 400
    NO_POLICY = "no-policy", 409
    NOT_PERMITTED = "not-permitted", 403

"""Principals and scopes: who asks, and what they may do. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from web_service.core.refusals import Reason, Refused

# The scope that includes all others, in every service.
ADMIN = "admin"


class ScopeName(StrEnum):
    """A service's scopes: what an API key may do. Each service has an enumeration of its own."""


@dataclass(frozen=True)
class Principal:
    """An authenticated caller.

    scopes: what it may do. expires_at: when its API key expires; None: never, or it has no key.
    """

    actor: str
    scopes: frozenset[str]
    expires_at: dt.datetime | None = None

    def holds(self, scope: str) -> bool:
        return scope in self.scopes or ADMIN in self.scopes

    def require(self, scope: str) -> None:
        """Raises Refused unless this caller holds `scope`."""
        if not self.holds(scope):
            raise Refused(Reason.FORBIDDEN, f"this API key lacks the scope {scope}: use a key that has it")

    def require_all(self, scopes: Collection[str]) -> None:
        """Raises Refused unless this caller holds every scope of a key that it makes."""
        missing = sorted(scope for scope in scopes if not self.holds(scope))
        if missing:
            raise Refused(
                Reason.FORBIDDEN,
                f"found scopes that this API key lacks: {', '.join(missing)}; leave them out or use a key that has "
                "them",
                field="scopes",
            )

    def key_expiry(self, wanted: dt.datetime | None, now: dt.datetime) -> dt.datetime | None:
        """When a key that this caller makes expires: never later than its own. wanted: None: with the caller's own.

        Raises Refused.
        """
        if wanted is not None and wanted <= now:
            raise Refused(
                Reason.INVALID_FIELD, f"found {wanted.isoformat()}, expected a time in the future", field="expires_at"
            )
        if self.expires_at is not None and wanted is not None and wanted > self.expires_at:
            raise Refused(
                Reason.FORBIDDEN,
                f"found {wanted.isoformat()}, expected at most {self.expires_at.isoformat()}, "
                "when the API key that makes this one expires",
                field="expires_at",
            )
        return wanted or self.expires_at

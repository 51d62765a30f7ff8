"""Principals and scopes: who asks, and what they may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import web_service.core
from web_service.core import ADMIN, Reason, Refused, ScopeName


class Scope(ScopeName):
    """What an API key may do. `admin` includes all others."""

    DEVICE_READ = "device:read"
    DEVICE_WRITE = "device:write"
    DOMAIN_READ = "domain:read"
    DOMAIN_WRITE = "domain:write"
    FEED_READ = "feed:read"
    KEY_WRITE = "key:write"
    AUDIT_READ = "audit:read"
    ADMIN = ADMIN


@dataclass(frozen=True)
class Principal(web_service.core.Principal):
    """An authenticated caller. domain_id: the only domain that it may see and change; None: all."""

    domain_id: int | None = None

    def sees(self, domain_id: int) -> bool:
        return self.domain_id is None or self.domain_id == domain_id

    def require_everywhere(self, what: str) -> None:
        """Raises Refused if this caller is confined to one domain."""
        if self.domain_id is not None:
            raise Refused(Reason.FORBIDDEN, f"{what} needs an API key that is not confined to one domain")


# A client that asks for public data.
ANYONE = Principal("public", frozenset({Scope.DOMAIN_READ}))


def local_principal(user: str) -> Principal:
    """A user of this machine. Anyone who can read the state directory is an administrator."""
    return Principal(f"local:{user}", frozenset({Scope.ADMIN}))


def device_principal(name: str, domain_id: int) -> Principal:
    """A device that has presented a token or a certificate."""
    return Principal(f"device:{name}", frozenset(), domain_id=domain_id)

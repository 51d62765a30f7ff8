"""Principals and scopes: who asks, and what they may do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import web_service.core
from operations.core.standing import Power
from web_service.core import ADMIN, Reason, Refused, ScopeName


class Scope(ScopeName):
    """What an API key may do. `admin` includes all others.

    standing:quarantine is for monitors, such as an intrusion detection system: with it alone, a key may make a device
    watched or quarantined, and may never release one. standing:write includes it.
    """

    DEVICE_READ = "device:read"
    DEVICE_WRITE = "device:write"
    STANDING_QUARANTINE = "standing:quarantine"
    STANDING_WRITE = "standing:write"
    APPROVAL_WRITE = "approval:write"
    FEED_READ = "feed:read"
    NODE_WRITE = "node:write"
    KEY_WRITE = "key:write"
    AUDIT_READ = "audit:read"
    ADMIN = ADMIN


_IMPLIED = {
    Scope.STANDING_WRITE: {Scope.STANDING_QUARANTINE, Scope.DEVICE_READ},
    Scope.APPROVAL_WRITE: {Scope.DEVICE_READ},
    Scope.DEVICE_WRITE: {Scope.DEVICE_READ},
}


def with_implied(scopes: frozenset[Scope]) -> frozenset[Scope]:
    """The scopes, and those that they include."""
    return scopes.union(*(_IMPLIED.get(scope, set()) for scope in scopes))


@dataclass(frozen=True)
class Principal(web_service.core.Principal):
    """An authenticated caller. node: the only node that it may speak for; None: any."""

    node: str | None = None

    @property
    def power(self) -> Power:
        """As whom it changes a standing."""
        return Power.PERSON if self.holds(Scope.STANDING_WRITE) else Power.MONITOR

    def require_node(self, node: str) -> None:
        """Raises Refused if this caller may not speak for the node."""
        if self.node is not None and self.node != node:
            raise Refused(Reason.FORBIDDEN, f"this API key speaks for the node {self.node} only", field="node")


# A client that asks for public data.
ANYONE = Principal("public", frozenset())


def local_principal(user: str) -> Principal:
    """A user of this machine. Anyone who can read the state directory is an administrator."""
    return Principal(f"local:{user}", frozenset({Scope.ADMIN}))


def rule_principal(rule: str) -> Principal:
    """A rule of the policy file."""
    return Principal(f"rule:{rule}", frozenset())

"""The ids of all checks of `iot-registry doctor`, and where the guide explains them. Pure."""

from __future__ import annotations

from typing import TypeAlias

import health_report
from health_report import CheckId, Fact, NotTried, error, info, ok, warning

__all__ = ["GUIDE", "Check", "Finding", "counted", "error", "info", "is_forbidden", "ok", "unseen", "warning"]

GUIDE = "docs/registry.md"


class Check(CheckId):
    """The ids of all checks: `area.subject`. Monitoring systems may rely on them."""

    CONFIGURATION_FILE = "configuration.file"
    CONFIGURATION_DOMAIN = "configuration.domain"
    CONFIGURATION_PUBLIC_URL = "configuration.public_url"
    FILES_STATE_DIRECTORY = "files.state_directory"
    FILES_OWNERS = "files.owners"
    FILES_SPACE = "files.space"
    FILES_CA_KEYS = "files.ca_keys"
    FILES_PASSPHRASES = "files.passphrases"
    FILES_TSIG_KEY = "files.tsig_key"
    FILES_TLS = "files.tls"
    DATABASE_REACHABLE = "database.reachable"
    DATABASE_ENCODING = "database.encoding"
    DATABASE_SCHEMA = "database.schema"
    DATABASE_INTEGRITY = "database.integrity"
    DATABASE_PUBLISHER = "database.publisher"
    OUTBOX_WAITING = "outbox.waiting"
    CA_ROOT = "ca.root"
    CA_ROOT_KEY = "ca.root_key"
    CA_ISSUING = "ca.issuing"
    CA_SERVER = "ca.server"
    CA_KEYS = "ca.keys"
    CA_ROLLOVER = "ca.rollover"
    KEYS_EXPIRY = "keys.expiry"
    KEYS_UNUSED = "keys.unused"
    KEYS_ADMINISTRATORS = "keys.administrators"
    TOKENS_OPEN = "tokens.open"
    TOKENS_EXPIRED = "tokens.expired"
    FEED_RETENTION = "feed.retention"
    FEED_FOLLOWERS = "feed.followers"
    SERVER_HEALTH = "server.health"
    SERVER_VERSION = "server.version"
    SERVER_NAME = "server.name"
    SERVER_CHAIN = "server.chain"
    SERVER_EXPIRY = "server.expiry"
    DNS_PRIMARY = "dns.primary"
    DNS_SIGNED = "dns.signed"
    DNS_SIGNATURES = "dns.signatures"
    DNS_UPDATE = "dns.update"
    DNS_VALIDATION = "dns.validation"
    DNS_DELEGATION = "dns.delegation"
    DNS_KEY_ROLLOVER = "dns.key_rollover"
    DNS_RECORDS = "dns.records"
    DNS_TTL = "dns.ttl"
    DNS_SECONDARIES = "dns.secondaries"
    CLOCK_SIGNATURES = "clock.signatures"
    CLOCK_HTTP = "clock.http"
    SIGNER_CONTROL = "signer.control"
    SERVICE_UNIT = "service.unit"
    BACKUP_CONTENTS = "backup.contents"

    @property
    def link(self) -> str:
        """The section of the registry's guide that explains the subject."""
        return f"{GUIDE}#{_SECTIONS.get(self) or _AREA_SECTIONS[self.area]}"


# A finding of one of these checks.
Finding: TypeAlias = health_report.Finding[Check]

_OPERATION, _PUBLICATION, _ROLLOVER = "operation", "publication", "emergency-rollover"
_AREA_SECTIONS = {
    "configuration": "configuration",
    "files": _OPERATION,
    "database": _OPERATION,
    "outbox": _PUBLICATION,
    "ca": "successor-of-an-issuing-ca",
    "keys": "what-a-key-may-do",
    "tokens": "enrollment",
    "feed": "change-feed",
    "server": _OPERATION,
    "dns": _PUBLICATION,
    "clock": "doctor",
    "signer": "configuration",
    "service": "as-a-service",
    "backup": _OPERATION,
}
_SECTIONS = {
    Check.CA_ROOT: "limits",
    Check.CA_ROOT_KEY: _OPERATION,
    Check.CA_KEYS: _OPERATION,
    Check.CA_SERVER: _OPERATION,
    Check.CA_ROLLOVER: _ROLLOVER,
    Check.DNS_DELEGATION: "quick-start",
    Check.DNS_VALIDATION: "quick-start",
    Check.DNS_KEY_ROLLOVER: "quick-start",
}

_AS_ROOT = "run this command as root, or as the registry's user"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 change`, `3 changes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def is_forbidden(fact: object) -> bool:
    """Whether a fact is missing because this user may not see it."""
    return isinstance(fact, NotTried) and "Permission denied" in fact.why


def unseen(check: Check, fact: Fact[object], expected: str, fix: str) -> Finding:
    """The finding for a fact that is missing: a warning if this user may not see it, and an error otherwise."""
    why = fact.why if isinstance(fact, NotTried) else ""
    if is_forbidden(fact):
        return warning(check, f"could not be seen: {why}", expected, _AS_ROOT)
    return error(check, why, expected, fix)

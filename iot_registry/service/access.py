"""Who asks, and what they may do: scoped API keys, optionally confined to one domain."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from iot_registry.errors import Reason, Refused
from iot_registry.store.models import ApiKey, AuditEntry, Domain


class Scope(StrEnum):
    """What a key may do. `admin` holds all of them."""

    DEVICE_READ = "device:read"
    DEVICE_WRITE = "device:write"
    DOMAIN_READ = "domain:read"
    DOMAIN_WRITE = "domain:write"
    FEED_READ = "feed:read"
    KEY_WRITE = "key:write"
    AUDIT_READ = "audit:read"
    ADMIN = "admin"


@dataclass(frozen=True)
class Principal:
    """An authenticated caller. domain_id: the only domain it may see and change; None: all.

    expires_at: when its key ends; None: never, or it has none.
    """

    actor: str
    scopes: frozenset[Scope]
    domain_id: int | None = None
    expires_at: dt.datetime | None = None

    def require(self, scope: Scope) -> None:
        """Raises Refused unless this caller holds `scope`."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise Refused(Reason.FORBIDDEN, f"this key lacks the scope {scope}")

    def sees(self, domain_id: int) -> bool:
        return self.domain_id is None or self.domain_id == domain_id

    def require_everywhere(self, what: str) -> None:
        if self.domain_id is not None:
            raise Refused(Reason.FORBIDDEN, f"{what} needs a key that is not confined to one domain")


def local_principal(user: str) -> Principal:
    """Whoever may read the state directory and the database is an administrator already."""
    return Principal(f"local:{user}", frozenset({Scope.ADMIN}))


def device_principal(name: str, domain_id: int) -> Principal:
    return Principal(f"device:{name}", frozenset(), domain_id)


def audit(
    session: Session,
    principal: Principal,
    action: str,
    target: str,
    now: dt.datetime,
    *,
    domain_id: int | None = None,
    **detail: Any,
) -> None:
    """Write one line of the audit log, in the transaction of what it tells about. Never put a secret in
    it."""
    session.add(
        AuditEntry(
            time=now,
            actor=principal.actor[:120],
            action=action,
            domain_id=domain_id,
            target=target,
            detail=detail,
        )
    )


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


_IDENTIFIER = re.compile(r"[0-9a-f]{12}\Z")
_KEY = re.compile(r"irk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")


def create_key(
    session: Session,
    principal: Principal,
    label: str,
    scopes: frozenset[Scope],
    now: dt.datetime,
    *,
    domain: Domain | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make an API key; the second value is the key itself, which is not kept. Raises Refused.

    No key makes one that does more or lasts longer than itself. expires_at: None: when the maker's own key ends.
    """
    principal.require(Scope.KEY_WRITE)
    domain_id = domain.id if domain else None
    if principal.domain_id is not None and domain_id != principal.domain_id:
        raise Refused(Reason.FORBIDDEN, "a key confined to a domain makes keys of that domain only", field="domain")
    missing = sorted(scopes - principal.scopes)
    if Scope.ADMIN not in principal.scopes and missing:
        raise Refused(Reason.FORBIDDEN, f"a key cannot give away what it lacks: {', '.join(missing)}", field="scopes")
    return new_key(session, principal, label, scopes, now, domain=domain, expires_at=expires_at)


def new_key(
    session: Session,
    principal: Principal,
    label: str,
    scopes: frozenset[Scope],
    now: dt.datetime,
    *,
    domain: Domain | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """As `create_key`, for a caller that has seen to the scopes: a new domain's administrator gets a key with it."""
    if expires_at is not None and expires_at <= now:
        raise Refused(Reason.INVALID_FIELD, "expires_at is in the past", field="expires_at")
    if principal.expires_at is not None:
        if expires_at is not None and expires_at > principal.expires_at:
            raise Refused(
                Reason.FORBIDDEN,
                f"found {expires_at.isoformat()}, expected at most {principal.expires_at.isoformat()}: "
                "a key makes none that outlives it",
                field="expires_at",
            )
        expires_at = expires_at or principal.expires_at
    domain_id = domain.id if domain else None
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey(
        id=identifier,
        label=label,
        secret_sha256=digest(secret),
        scopes=sorted(scopes),
        domain_id=domain_id,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(key)
    audit(
        session,
        principal,
        "key.add",
        identifier,
        now,
        domain_id=domain_id,
        label=label,
        scopes=sorted(scopes),
        expires=expires_at.isoformat() if expires_at else None,
    )
    return key, f"irk_{identifier}_{secret}"


def authenticate(session: Session, presented: str, now: dt.datetime) -> Principal:
    """Who presents this API key. Raises Refused, always with the same text."""
    match = _KEY.match(presented)
    key = session.get(ApiKey, match[1]) if match else None
    # Compared even without a key, so that the time does not tell which identifiers exist.
    expected = key.secret_sha256 if key else digest("")
    same = hmac.compare_digest(expected, digest(match[2] if match else "-"))
    if key is None or not same or key.revoked_at is not None or (key.expires_at and key.expires_at <= now):
        raise Refused(Reason.UNAUTHENTICATED, "no valid API key: send `Authorization: Bearer irk_...`")
    scopes = frozenset(Scope(s) for s in key.scopes)
    return Principal(f"key:{key.id} ({key.label})", scopes, key.domain_id, key.expires_at)


def revoke_key(session: Session, principal: Principal, identifier: str, now: dt.datetime) -> ApiKey:
    """Raises Refused if there is no such key in sight."""
    principal.require(Scope.KEY_WRITE)
    key = session.get(ApiKey, identifier) if _IDENTIFIER.match(identifier) else None
    if key is None or (principal.domain_id is not None and key.domain_id != principal.domain_id):
        raise Refused(Reason.NOT_FOUND, f"no key {identifier[:20]}")
    if key.revoked_at is None:
        key.revoked_at = now
        audit(session, principal, "key.revoke", key.id, now, domain_id=key.domain_id)
    return key


def list_keys(session: Session, principal: Principal) -> list[ApiKey]:
    principal.require(Scope.KEY_WRITE)
    statement = select(ApiKey).order_by(ApiKey.created_at)
    if principal.domain_id is not None:
        statement = statement.where(ApiKey.domain_id == principal.domain_id)
    return list(session.scalars(statement))

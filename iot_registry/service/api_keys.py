"""API keys: made with scopes, optionally confined to one domain; presented, listed and revoked."""

from __future__ import annotations

import datetime as dt
import hmac
import re
import secrets

from sqlalchemy import select
from sqlalchemy.orm import Session

from iot_registry.core.errors import Reason, Refused
from iot_registry.service import audit
from iot_registry.service.access import Principal, Scope
from iot_registry.service.domains import find_domain
from iot_registry.service.schemas import KeyCreate, KeyCreated, KeyView
from iot_registry.service.secret_digest import secret_digest
from iot_registry.store.models import ApiKey, Domain

_IDENTIFIER = re.compile(r"[0-9a-f]{12}\Z")
_KEY = re.compile(r"irk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
NO_VALID_KEY = "no valid API key: send `Authorization: Bearer irk_...` with a key that is neither revoked nor expired"


def create(session: Session, who: Principal, wanted: KeyCreate, now: dt.datetime) -> KeyCreated:
    """Make the API key that a request asks for. A confined caller's key gets the caller's domain. Raises Refused."""
    if wanted.expires_at is not None and wanted.expires_at.tzinfo is None:
        raise Refused(
            Reason.INVALID_FIELD,
            "expires_at has no time zone, expected RFC 3339, such as 2030-01-01T00:00:00Z",
            field="expires_at",
        )
    domain = find_domain(session, who, wanted.domain) if wanted.domain else None
    if domain is None and who.domain_id is not None:
        domain = session.get_one(Domain, who.domain_id)
    scopes = frozenset(wanted.scopes)
    key, secret = issue_key(session, who, wanted.label, scopes, now, domain=domain, expires_at=wanted.expires_at)
    session.flush()
    session.refresh(key)
    return KeyCreated(key=view(key), secret=secret)


def issue_key(
    session: Session,
    principal: Principal,
    label: str,
    scopes: frozenset[Scope],
    now: dt.datetime,
    *,
    domain: Domain | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make an API key; returns its row and the key itself, which is not stored. Raises Refused.

    A key cannot make one with more scopes or a later expiry than its own. expires_at: None: that of the caller's key.
    """
    principal.require(Scope.KEY_WRITE)
    domain_id = domain.id if domain else None
    if principal.domain_id is not None and domain_id != principal.domain_id:
        raise Refused(
            Reason.FORBIDDEN, "an API key that is confined to a domain makes keys of that domain only", field="domain"
        )
    missing = sorted(scopes - principal.scopes)
    if Scope.ADMIN not in principal.scopes and missing:
        raise Refused(
            Reason.FORBIDDEN,
            f"found scopes that this API key lacks: {', '.join(missing)}; leave them out or use a key that has them",
            field="scopes",
        )
    return insert_key(session, principal, label, scopes, now, domain=domain, expires_at=expires_at)


def insert_key(
    session: Session,
    principal: Principal,
    label: str,
    scopes: frozenset[Scope],
    now: dt.datetime,
    *,
    domain: Domain | None = None,
    expires_at: dt.datetime | None = None,
) -> tuple[ApiKey, str]:
    """As `issue_key`, without a check of scopes: the first key of a new domain exceeds those of its maker."""
    if expires_at is not None and expires_at <= now:
        raise Refused(
            Reason.INVALID_FIELD, f"found {expires_at.isoformat()}, expected a time in the future", field="expires_at"
        )
    if principal.expires_at is not None:
        if expires_at is not None and expires_at > principal.expires_at:
            raise Refused(
                Reason.FORBIDDEN,
                f"found {expires_at.isoformat()}, expected at most {principal.expires_at.isoformat()}, "
                "when the API key that makes this one expires",
                field="expires_at",
            )
        expires_at = expires_at or principal.expires_at
    domain_id = domain.id if domain else None
    identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    key = ApiKey(
        id=identifier,
        label=label,
        secret_sha256=secret_digest(secret),
        scopes=sorted(scopes),
        domain_id=domain_id,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(key)
    audit.record(
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
    """The principal that this API key stands for. Raises Refused, always with the same text."""
    match = _KEY.match(presented)
    key = session.get(ApiKey, match[1]) if match else None
    # Compared even without a row: the time must not tell which identifiers exist.
    expected = key.secret_sha256 if key else secret_digest("")
    same = hmac.compare_digest(expected, secret_digest(match[2] if match else "-"))
    if key is None or not same or key.revoked_at is not None or (key.expires_at and key.expires_at <= now):
        raise Refused(Reason.UNAUTHENTICATED, NO_VALID_KEY)
    scopes = frozenset(Scope(scope) for scope in key.scopes)
    return Principal(f"key:{key.id} ({key.label})", scopes, key.domain_id, key.expires_at)


def revoke_key(session: Session, principal: Principal, identifier: str, now: dt.datetime) -> ApiKey:
    """Revoke an API key. A repetition changes nothing. Raises Refused if the caller sees no such key."""
    principal.require(Scope.KEY_WRITE)
    key = session.get(ApiKey, identifier) if _IDENTIFIER.match(identifier) else None
    if key is None or (principal.domain_id is not None and key.domain_id != principal.domain_id):
        raise Refused(Reason.NOT_FOUND, f"no API key {identifier[:20]}: `iot-registry key list` shows those there are")
    if key.revoked_at is None:
        key.revoked_at = now
        audit.record(session, principal, "key.revoke", key.id, now, domain_id=key.domain_id)
    return key


def find_keys(session: Session, principal: Principal) -> list[ApiKey]:
    """The API keys that the caller may see, oldest first. Raises Refused."""
    principal.require(Scope.KEY_WRITE)
    statement = select(ApiKey).order_by(ApiKey.created_at)
    if principal.domain_id is not None:
        statement = statement.where(ApiKey.domain_id == principal.domain_id)
    return list(session.scalars(statement))


def view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        label=key.label,
        scopes=list(key.scopes),
        domain=key.domain.name if key.domain else None,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )

"""API keys: made with scopes, optionally confined to one domain; presented, listed and revoked."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from iot_registry.service import audit
from iot_registry.service.access import Principal, Scope
from iot_registry.service.domains import find_domain
from iot_registry.service.schemas import KeyCreate, KeyCreated, KeyView
from iot_registry.store.models import ApiKey, Domain
from web_service.core import Reason, Refused
from web_service.local import KeyFormat

KEYS = KeyFormat("irk")


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
    principal.require_all(scopes)
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
    expires_at = principal.key_expiry(expires_at, now)
    domain_id = domain.id if domain else None
    issued = KEYS.issue()
    key = ApiKey(
        id=issued.identifier,
        label=label,
        secret_sha256=issued.digest,
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
        issued.identifier,
        now,
        domain_id=domain_id,
        label=label,
        scopes=sorted(scopes),
        expires=expires_at.isoformat() if expires_at else None,
    )
    return key, issued.text


def authenticate(session: Session, presented: str, now: dt.datetime) -> Principal:
    """The principal that this API key stands for. Raises Refused, always with the same text."""
    key = KEYS.verify(presented, lambda identifier: session.get(ApiKey, identifier), now)
    scopes = frozenset(Scope(scope) for scope in key.scopes)
    return Principal(f"key:{key.id} ({key.label})", scopes, key.expires_at, key.domain_id)


def revoke_key(session: Session, principal: Principal, identifier: str, now: dt.datetime) -> ApiKey:
    """Revoke an API key. A repetition changes nothing. Raises Refused if the caller sees no such key."""
    principal.require(Scope.KEY_WRITE)
    key = session.get(ApiKey, identifier) if KEYS.is_identifier(identifier) else None
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

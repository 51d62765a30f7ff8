"""API keys: made with scopes, optionally confined to one node; presented, listed and revoked."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select
from sqlalchemy.orm import Session

from operations.service import audit
from operations.service.access import Principal, Scope, with_implied
from operations.service.schemas import KeyCreate, KeyCreated, KeyView
from operations.store.models import ApiKey
from web_service.core import Reason, Refused
from web_service.local import KeyFormat

KEYS = KeyFormat("dok")


def create(session: Session, who: Principal, wanted: KeyCreate, now: dt.datetime) -> KeyCreated:
    """Make the API key that a request asks for. Its scopes and its lifetime exceed those of its maker in nothing.

    Raises Refused.
    """
    who.require(Scope.KEY_WRITE)
    scopes = frozenset(wanted.scopes)
    who.require_all(scopes)
    if who.node is not None and wanted.node != who.node:
        raise Refused(Reason.FORBIDDEN, f"this API key makes keys of the node {who.node} only", field="node")
    expires_at = who.key_expiry(wanted.expires_at, now)
    issued = KEYS.issue()
    key = ApiKey(
        id=issued.identifier,
        label=wanted.label,
        secret_sha256=issued.digest,
        scopes=sorted(scopes),
        node=wanted.node,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(key)
    audit.record(
        session,
        who,
        "key.add",
        key.id,
        now,
        label=wanted.label,
        scopes=sorted(scopes),
        node=wanted.node,
        expires=expires_at.isoformat() if expires_at else None,
    )
    return KeyCreated(key=view(key), secret=issued.text)


def authenticate(session: Session, presented: str, now: dt.datetime) -> Principal:
    """The principal that this API key stands for. Raises Refused, always with the same text."""
    key = KEYS.verify(presented, lambda identifier: session.get(ApiKey, identifier), now)
    scopes = with_implied(frozenset(Scope(scope) for scope in key.scopes))
    return Principal(f"key:{key.id} ({key.label})", scopes, key.expires_at, key.node)


def revoke_key(session: Session, who: Principal, identifier: str, now: dt.datetime) -> ApiKey:
    """Revoke an API key. A repetition changes nothing. Raises Refused if there is no such key.

    For a caller that is confined to a node, there are only the keys of that node.
    """
    who.require(Scope.KEY_WRITE)
    key = session.get(ApiKey, identifier) if KEYS.is_identifier(identifier) else None
    if key is None or (who.node is not None and key.node != who.node):
        detail = f"no API key {identifier[:20]}: `dane-operations key list` shows those there are"
        raise Refused(Reason.NOT_FOUND, detail)
    if key.revoked_at is None:
        key.revoked_at = now
        audit.record(session, who, "key.revoke", key.id, now)
    return key


def find_keys(session: Session, who: Principal) -> list[ApiKey]:
    """The API keys that the caller may revoke, oldest first. Raises Refused."""
    who.require(Scope.KEY_WRITE)
    keys = select(ApiKey).order_by(ApiKey.created_at)
    return list(session.scalars(keys if who.node is None else keys.where(ApiKey.node == who.node)))


def view(key: ApiKey) -> KeyView:
    return KeyView(
        id=key.id,
        label=key.label,
        scopes=list(key.scopes),
        node=key.node,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
    )

"""API keys as requests ask for them and answers show them."""

from __future__ import annotations

import datetime as dt

from sqlalchemy.orm import Session

from iot_registry.errors import Reason, Refused
from iot_registry.service import access
from iot_registry.service.access import Principal
from iot_registry.service.domains import find_domain
from iot_registry.service.schemas import KeyCreate, KeyCreated, KeyView
from iot_registry.store.models import ApiKey, Domain


def create(session: Session, who: Principal, wanted: KeyCreate, now: dt.datetime) -> KeyCreated:
    """Make a key; one that is made with a key of one domain is of that domain. Raises Refused."""
    if wanted.expires_at is not None and wanted.expires_at.tzinfo is None:
        raise Refused(Reason.INVALID_FIELD, "expires_at has no time zone, expected RFC 3339", field="expires_at")
    domain = find_domain(session, who, wanted.domain) if wanted.domain else None
    if domain is None and who.domain_id is not None:
        domain = session.get_one(Domain, who.domain_id)
    scopes = frozenset(wanted.scopes)
    key, secret = access.create_key(
        session, who, wanted.label, scopes, now, domain=domain, expires_at=wanted.expires_at
    )
    session.flush()
    session.refresh(key)
    return KeyCreated(key=view(key), secret=secret)


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

"""The audit log: who did what, and when."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from iot_registry.service.access import Principal, Scope
from iot_registry.service.schemas import AuditView
from iot_registry.store.models import AuditEntry, Domain


def record(
    session: Session,
    principal: Principal,
    action: str,
    target: str,
    now: dt.datetime,
    *,
    domain_id: int | None = None,
    **detail: Any,
) -> None:
    """Add an entry, in the transaction of the action that it records. `detail` must not hold a secret."""
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


def page(
    session: Session, principal: Principal, after: int = 0, limit: int = 100
) -> tuple[list[AuditView], int | None]:
    """Entries after number `after`, oldest first, and the `after` of the next page; None: there are no more.

    Raises Refused.
    """
    principal.require(Scope.AUDIT_READ)
    statement = (
        select(AuditEntry, Domain.name)
        .outerjoin(Domain, Domain.id == AuditEntry.domain_id)
        .where(AuditEntry.id > after)
        .order_by(AuditEntry.id)
        .limit(limit + 1)
    )
    if principal.domain_id is not None:
        statement = statement.where(AuditEntry.domain_id == principal.domain_id)
    rows = list(session.execute(statement))
    entries = [
        AuditView(
            id=entry.id,
            time=entry.time,
            actor=entry.actor,
            action=entry.action,
            domain=domain,
            target=entry.target,
            detail=entry.detail,
        )
        for entry, domain in rows[:limit]
    ]
    return entries, entries[-1].id if len(rows) > limit else None

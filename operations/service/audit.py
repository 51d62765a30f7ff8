"""The audit log: who did what, and when."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from operations.service.access import Principal, Scope
from operations.service.schemas import AuditView
from operations.store.models import AuditEntry


def record(session: Session, who: Principal, action: str, target: str, now: dt.datetime, **detail: Any) -> None:
    """Add an entry, in the transaction of the action that it records. `detail` must not hold a secret."""
    session.add(AuditEntry(time=now, actor=who.actor[:120], action=action, target=target, detail=detail))


def page(session: Session, who: Principal, after: int = 0, limit: int = 100) -> tuple[list[AuditView], int | None]:
    """Entries after number `after`, oldest first, and the `after` of the next page; None: there are no more.

    Raises Refused.
    """
    who.require(Scope.AUDIT_READ)
    statement = select(AuditEntry).where(AuditEntry.id > after).order_by(AuditEntry.id).limit(limit + 1)
    rows = list(session.scalars(statement))
    entries = [
        AuditView(
            id=entry.id,
            time=entry.time,
            actor=entry.actor,
            action=entry.action,
            target=entry.target,
            detail=entry.detail,
        )
        for entry in rows[:limit]
    ]
    return entries, entries[-1].id if len(rows) > limit else None

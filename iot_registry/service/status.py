"""How the registry is doing, and what the audit log holds."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from iot_registry import feed
from iot_registry.service import succession
from iot_registry.service.access import Principal, Scope
from iot_registry.service.schemas import AuditView, StatusView
from iot_registry.store.models import AuditEntry, Device, DeviceStatus, Domain, OutboxEntry


def status(session: Session, domain_id: int | None, device_days: int, now: dt.datetime) -> StatusView:
    """Counts, lag and CAs, of one domain or of all. device_days: life of a device's certificate."""
    devices = select(Device.status, func.count(Device.id)).group_by(Device.status)
    pending = select(func.count(OutboxEntry.id), func.min(OutboxEntry.created_at))
    trouble = select(OutboxEntry.last_error).where(OutboxEntry.last_error.is_not(None))
    if domain_id is not None:
        devices = devices.where(Device.domain_id == domain_id)
        own = OutboxEntry.device_id.in_(select(Device.id).where(Device.domain_id == domain_id))
        pending, trouble = pending.where(own), trouble.where(own)
    counts = dict.fromkeys((str(state) for state in DeviceStatus), 0)
    for state, count in session.execute(devices):
        counts[state] = count
    waiting, oldest = session.execute(pending).one()
    return StatusView(
        devices=counts,
        outbox_pending=waiting,
        outbox_oldest_seconds=max(0.0, (now - oldest).total_seconds()) if oldest else 0.0,
        outbox_last_error=session.scalars(trouble.order_by(OutboxEntry.id).limit(1)).first(),
        feed_sequence=feed.last_seq(session),
        authorities=succession.views(session, domain_id, device_days, now),
    )


def audit_log(
    session: Session, principal: Principal, after: int = 0, limit: int = 100
) -> tuple[list[AuditView], int | None]:
    """One page of the audit log, oldest first, and where the next page starts. Raises Refused."""
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
    views = [
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
    return views, views[-1].id if len(rows) > limit else None

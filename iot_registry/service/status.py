"""The state of the registry: devices, publication, CAs."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from iot_registry.service import succession
from iot_registry.service.schemas import StatusView
from iot_registry.store import change_feed
from iot_registry.store.models import Device, DeviceStatus, OutboxEntry


def status(session: Session, domain_id: int | None, device_days: int, now: dt.datetime) -> StatusView:
    """Devices by status, publication lag and CAs, of one domain or of all. device_days: lifetime of certificates."""
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
        feed_sequence=change_feed.last_seq(session),
        authorities=succession.views(session, domain_id, device_days, now),
    )

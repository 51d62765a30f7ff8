"""Rows of the inventory for devices that were not known before."""

from __future__ import annotations

import datetime as dt
import uuid

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from operations.core.names import maker_of, type_of
from operations.store.models import Device


def new_device(name: str, now: dt.datetime, *, entered: bool) -> Device:
    """A row for a device that was not known. entered: by people, rather than seen."""
    return Device(
        uid=str(uuid.uuid4()),
        name=name,
        maker=maker_of(name),
        type=type_of(name),
        proven=False,
        entered=entered,
        created_at=now,
        changed_at=now,
        admissions=0,
        refusals=0,
        records=[],
    )


def ensure_known(session: Session, name: str, now: dt.datetime) -> None:
    """Enter a device that people or monitors speak of, unless it is known: lists then show it."""
    if session.scalars(select(Device.id).where(Device.name == name)).first() is not None:
        return
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    new = new_device(name, now, entered=True)
    values = {column.key: getattr(new, column.key) for column in Device.__table__.columns if column.key != "id"}
    # Another request may enter it at the same time. A quarantine must not fail by that.
    session.execute(insert(Device).values(**values).on_conflict_do_nothing())

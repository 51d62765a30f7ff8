"""The database tables.

Times are aware and in UTC. No table holds a usable secret. A transaction that changes devices and the
feed locks the devices first.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from web_service.store import BigId, UtcTime


class Base(DeclarativeBase):
    type_annotation_map = {dt.datetime: UtcTime(), dict[str, Any]: JSON(), list[str]: JSON()}  # noqa: RUF012


class Counter(Base):
    """Numbers in the order of commits, which a sequence does not keep.

    `feed`: sequence number of the last event. `horizon`: that of the last event that was deleted. `intake`: batches of
    nodes; its row is the lock under which inventories change.
    """

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[int] = mapped_column(BigId)


class Origin(Base):
    """One row: random, made with the database, and again after a restore.

    Followers of the feed notice by it that they follow another database.
    """

    __tablename__ = "origin"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(String(32))


class StandingEntry(Base):
    """The present standing of a device or a maker. A subject without a row is plain normal."""

    __tablename__ = "standing"
    subject: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str] = mapped_column(String(253), primary_key=True)
    standing: Mapped[str] = mapped_column(String(16), index=True)
    approved: Mapped[bool]
    zone: Mapped[str | None] = mapped_column(String(63))
    until: Mapped[dt.datetime | None] = mapped_column(index=True)
    then: Mapped[str] = mapped_column(String(16))
    then_zone: Mapped[str | None] = mapped_column(String(63))
    reason: Mapped[str] = mapped_column(String(400))
    by: Mapped[str] = mapped_column(String(120))
    since: Mapped[dt.datetime]
    released_at: Mapped[dt.datetime | None]


class Change(Base):
    """One change of a standing: an event of the feed, and a line of the history, which is kept when the event is not.

    power: person, monitor, rule, expiry or approval.
    """

    __tablename__ = "changes"
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    time: Mapped[dt.datetime] = mapped_column(index=True)
    subject: Mapped[str] = mapped_column(String(8))
    name: Mapped[str] = mapped_column(String(253))
    standing: Mapped[str] = mapped_column(String(16))
    approved: Mapped[bool]
    zone: Mapped[str | None] = mapped_column(String(63))
    until: Mapped[dt.datetime | None]
    then: Mapped[str] = mapped_column(String(16))
    then_zone: Mapped[str | None] = mapped_column(String(63))
    removed: Mapped[bool]
    reason: Mapped[str] = mapped_column(String(400))
    by: Mapped[str] = mapped_column(String(120))
    power: Mapped[str] = mapped_column(String(16))

    __table_args__ = (Index("ix_changes_subject_name", "subject", "name", "seq"),)


class Device(Base):
    """A device of the inventory. proven: a device has proven that it holds this name.

    zone, rule, station, nas, ssid: of the last admission. certificate, records: what the last proof rested on.
    display_name, mud_url: what people have entered.
    """

    __tablename__ = "devices"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    uid: Mapped[str] = mapped_column(String(36), unique=True)
    name: Mapped[str] = mapped_column(String(253), unique=True)
    maker: Mapped[str] = mapped_column(String(253), index=True)
    type: Mapped[str | None] = mapped_column(String(63), index=True)
    proven: Mapped[bool] = mapped_column(index=True)
    entered: Mapped[bool]
    display_name: Mapped[str | None] = mapped_column(String(200))
    mud_url: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[dt.datetime]
    changed_at: Mapped[dt.datetime]
    first_seen: Mapped[dt.datetime | None]
    last_seen: Mapped[dt.datetime | None] = mapped_column(index=True)
    last_admitted: Mapped[dt.datetime | None]
    last_refused: Mapped[dt.datetime | None] = mapped_column(index=True)
    refusal_reason: Mapped[str | None] = mapped_column(String(40))
    admissions: Mapped[int] = mapped_column(BigId)
    refusals: Mapped[int] = mapped_column(BigId)
    zone: Mapped[str | None] = mapped_column(String(64), index=True)
    rule: Mapped[str | None] = mapped_column(String(64))
    station: Mapped[str | None] = mapped_column(String(64))
    nas: Mapped[str | None] = mapped_column(String(64))
    ssid: Mapped[str | None] = mapped_column(String(64))
    certificate: Mapped[str | None] = mapped_column(String(200))
    records: Mapped[list[str]]


class DecisionRow(Base):
    """A decision of a node. proven: an admission of the device itself; else a refusal, by whomever it was caused."""

    __tablename__ = "decisions"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id", ondelete="CASCADE"))
    proven: Mapped[bool]
    at: Mapped[dt.datetime]
    node: Mapped[str] = mapped_column(String(63))
    accepted: Mapped[bool]
    reason: Mapped[str] = mapped_column(String(40))
    zone: Mapped[str | None] = mapped_column(String(64))
    rule: Mapped[str | None] = mapped_column(String(64))
    station: Mapped[str | None] = mapped_column(String(64))
    nas: Mapped[str | None] = mapped_column(String(64))
    ssid: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(String(200))

    __table_args__ = (Index("ix_decisions_device", "device_id", "proven", "at"),)


class PlaceRow(Base):
    """Where a device has been admitted. Empty strings: the NAS did not say it."""

    __tablename__ = "places"
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True)
    station: Mapped[str] = mapped_column(String(64), primary_key=True)
    nas: Mapped[str] = mapped_column(String(64), primary_key=True)
    ssid: Mapped[str] = mapped_column(String(64), primary_key=True)
    first_seen: Mapped[dt.datetime]
    last_seen: Mapped[dt.datetime]


class Question(Base):
    """A device that waits for the approval of a person. answer: yes, no or always; None: it is open."""

    __tablename__ = "questions"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(253), index=True)
    maker: Mapped[str] = mapped_column(String(253), index=True)
    type: Mapped[str | None] = mapped_column(String(63))
    proven: Mapped[bool]
    network: Mapped[str | None] = mapped_column(String(63))
    nas: Mapped[str | None] = mapped_column(String(64))
    ssid: Mapped[str | None] = mapped_column(String(64))
    zone: Mapped[str | None] = mapped_column(String(64))
    asked_at: Mapped[dt.datetime]
    last_seen: Mapped[dt.datetime]
    answer: Mapped[str | None] = mapped_column(String(8), index=True)
    answered_at: Mapped[dt.datetime | None]
    answered_by: Mapped[str | None] = mapped_column(String(120))


class NodeRow(Base):
    """A RADIUS node that has reported. lost: decisions that it could not send. lost_reported: its own counter, last."""

    __tablename__ = "nodes"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    first_seen: Mapped[dt.datetime]
    last_seen: Mapped[dt.datetime]
    taken: Mapped[int] = mapped_column(BigId)
    skipped: Mapped[int] = mapped_column(BigId)
    lost: Mapped[int] = mapped_column(BigId)
    lost_reported: Mapped[int] = mapped_column(BigId)


class BatchRow(Base):
    """A part of a batch that a node has sent, so that a repetition changes nothing."""

    __tablename__ = "batches"
    node: Mapped[str] = mapped_column(String(63), primary_key=True)
    batch_id: Mapped[str] = mapped_column(String(72), primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(index=True)
    taken: Mapped[int]
    skipped: Mapped[int]


class SessionRow(Base):
    """A live session, as its node last reported."""

    __tablename__ = "sessions"
    node: Mapped[str] = mapped_column(String(63), primary_key=True)
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(String(253), index=True)
    station: Mapped[str | None] = mapped_column(String(64))
    nas: Mapped[str | None] = mapped_column(String(64))
    ssid: Mapped[str | None] = mapped_column(String(64))
    since: Mapped[dt.datetime | None]


class ApiKey(Base):
    """An API key. node: the only node that it may speak for; None: any."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    label: Mapped[str] = mapped_column(String(100))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    node: Mapped[str | None] = mapped_column(String(63))
    created_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]


class AuditEntry(Base):
    """Who did what, and when. Triggers in the database refuse to change or delete a row (see the migrations)."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    time: Mapped[dt.datetime]
    actor: Mapped[str] = mapped_column(String(120))
    action: Mapped[str] = mapped_column(String(40))
    target: Mapped[str] = mapped_column(String(253))
    detail: Mapped[dict[str, Any]] = mapped_column()

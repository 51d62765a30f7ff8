"""The database tables.

Times are aware and in UTC. Binary columns hold DER. No table holds a private key or a usable secret.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from web_service.store import BigId, UtcTime


class Base(DeclarativeBase):
    type_annotation_map = {dt.datetime: UtcTime(), dict[str, Any]: JSON(), list[str]: JSON()}  # noqa: RUF012


class DeviceStatus(StrEnum):
    """registered: no valid certificate. rehomed: the device has another name now; terminal."""

    REGISTERED = "registered"
    ACTIVE = "active"
    REVOKED = "revoked"
    REHOMED = "rehomed"


class CertificateStatus(StrEnum):
    """pending: published, not delivered yet. retiring: a newer one was delivered. withdrawn: unpublished; terminal."""

    PENDING = "pending"
    CURRENT = "current"
    RETIRING = "retiring"
    WITHDRAWN = "withdrawn"


# The records of certificates in these states are in the DNS while the device is active.
PUBLISHED_STATES = (CertificateStatus.PENDING, CertificateStatus.CURRENT, CertificateStatus.RETIRING)


class AuthorityKind(StrEnum):
    ROOT = "root"
    ISSUING = "issuing"
    SERVER = "server"


class Domain(Base):
    """An identity domain. Its devices are named below `_device.<name>`; their records are in `zone`."""

    __tablename__ = "domains"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(253), unique=True)
    zone: Mapped[str] = mapped_column(String(253))
    profile: Mapped[str] = mapped_column(String(16))
    ttl: Mapped[int]
    created_at: Mapped[dt.datetime]


class Authority(Base):
    """A CA certificate. Its key is a file in the state directory, named after `aki`."""

    __tablename__ = "authorities"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    domain_id: Mapped[int | None] = mapped_column(ForeignKey("domains.id"), index=True)
    generation: Mapped[int]
    pem: Mapped[str] = mapped_column(Text)
    aki: Mapped[str] = mapped_column(String(128), unique=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[dt.datetime]
    not_after: Mapped[dt.datetime]
    retired_at: Mapped[dt.datetime | None]


class Device(Base):
    __tablename__ = "devices"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id"), index=True)
    name: Mapped[str] = mapped_column(String(253), unique=True)
    type: Mapped[str] = mapped_column(String(63))
    mud_url: Mapped[str | None] = mapped_column(String(255))
    profile: Mapped[str | None] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[dt.datetime]
    updated_at: Mapped[dt.datetime]
    revoked_at: Mapped[dt.datetime | None]
    revoke_reason: Mapped[str | None] = mapped_column(String(200))
    # The device under its former name in another domain.
    rehomed_from_id: Mapped[int | None] = mapped_column(ForeignKey("devices.id"))
    # When its records are withdrawn because the device has enrolled under its new name.
    leaves_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    # The TLSA records that the DNS last confirmed, sorted, one per line; empty: none.
    published: Mapped[str] = mapped_column(Text, default="")

    domain: Mapped[Domain] = relationship()

    __table_args__ = (Index("ix_devices_domain_status", "domain_id", "status"),)


class Certificate(Base):
    __tablename__ = "certificates"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"), index=True)
    authority_id: Mapped[int] = mapped_column(ForeignKey("authorities.id"), index=True)
    serial: Mapped[str] = mapped_column(String(64), unique=True)
    fingerprint: Mapped[str] = mapped_column(String(64), unique=True)
    spki_sha256: Mapped[str] = mapped_column(String(64), index=True)
    der: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[str] = mapped_column(String(16))
    issued_at: Mapped[dt.datetime]
    not_after: Mapped[dt.datetime] = mapped_column(index=True)
    published_at: Mapped[dt.datetime | None]
    delivered_at: Mapped[dt.datetime | None]
    # Seconds from `published_at` to delivery, because caches may hold the old RRset that long.
    hold_seconds: Mapped[int] = mapped_column(default=0)
    # When the record of a retiring certificate is withdrawn.
    retire_at: Mapped[dt.datetime | None] = mapped_column(index=True)

    authority: Mapped[Authority] = relationship()


class Token(Base):
    """A one-time enrollment token. Only its SHA-256 is stored; for 256 random bits a slow hash adds nothing."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"), index=True)
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
    used_at: Mapped[dt.datetime | None]
    cancelled_at: Mapped[dt.datetime | None]
    certificate_id: Mapped[int | None] = mapped_column(ForeignKey("certificates.id"))
    rollover_id: Mapped[int | None] = mapped_column(ForeignKey("rollovers.id"))


class ApiKey(Base):
    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    label: Mapped[str] = mapped_column(String(100))
    secret_sha256: Mapped[str] = mapped_column(String(64))
    scopes: Mapped[list[str]]
    domain_id: Mapped[int | None] = mapped_column(ForeignKey("domains.id"))
    created_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime | None]
    revoked_at: Mapped[dt.datetime | None]

    domain: Mapped[Domain | None] = relationship()


class AuditEntry(Base):
    """Who did what, and when. Triggers in the database refuse to change or delete a row (see the migrations)."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    time: Mapped[dt.datetime]
    actor: Mapped[str] = mapped_column(String(120))
    action: Mapped[str] = mapped_column(String(40))
    domain_id: Mapped[int | None] = mapped_column(ForeignKey("domains.id"), index=True)
    target: Mapped[str] = mapped_column(String(253))
    detail: Mapped[dict[str, Any]]


class OutboxEntry(Base):
    """A device whose records in the DNS may differ from the database. Deleted once both agree."""

    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    device_id: Mapped[int] = mapped_column(ForeignKey("devices.id"), index=True)
    zone: Mapped[str] = mapped_column(String(253), index=True)
    event: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[dt.datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[dt.datetime] = mapped_column(index=True)
    last_error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = ({"sqlite_autoincrement": True},)


class Change(Base):
    """One event of the change feed. A later event with the same `subject` supersedes it."""

    __tablename__ = "changes"
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    time: Mapped[dt.datetime] = mapped_column(index=True)
    type: Mapped[str] = mapped_column(String(20))
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id"), index=True)
    subject: Mapped[str] = mapped_column(String(260), index=True)
    name: Mapped[str | None] = mapped_column(String(253))
    anchor: Mapped[dict[str, Any] | None]


class Counter(Base):
    """Numbers in the order of commits, which a sequence does not keep.

    `feed`: sequence number of the last event. `horizon`: that of the last event that was deleted.
    """

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[int] = mapped_column(BigId)


class Rollover(Base):
    """An emergency rollover of one domain: its next step, and what it has produced so far."""

    __tablename__ = "rollovers"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id"), index=True)
    step: Mapped[str] = mapped_column(String(20))
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    detail: Mapped[dict[str, Any]]

    domain: Mapped[Domain] = relationship()

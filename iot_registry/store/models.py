"""Tables. Times are aware UTC; binary columns hold DER; nothing here holds a private key or a usable
secret."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

# SQLite counts rowids only in INTEGER columns; PostgreSQL should not run out at two billion.
BigId = BigInteger().with_variant(Integer, "sqlite")


class UtcTime(TypeDecorator[dt.datetime]):
    """An aware UTC time. SQLite drops the zone; it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(dt.UTC) if value is not None else None

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Base(DeclarativeBase):
    type_annotation_map = {dt.datetime: UtcTime(), dict[str, Any]: JSON(), list[str]: JSON()}  # noqa: RUF012


class DeviceStatus(StrEnum):
    """registered: no certificate yet. rehomed: it lives on under another name; terminal."""

    REGISTERED = "registered"
    ACTIVE = "active"
    REVOKED = "revoked"
    REHOMED = "rehomed"


class CertificateStatus(StrEnum):
    """pending: published, not handed out yet. retiring: a newer one was handed out. withdrawn: not in
    the DNS; terminal."""

    PENDING = "pending"
    CURRENT = "current"
    RETIRING = "retiring"
    WITHDRAWN = "withdrawn"


# Certificates in these states have their records in the DNS while their device is active.
PUBLISHED_STATES = (CertificateStatus.PENDING, CertificateStatus.CURRENT, CertificateStatus.RETIRING)


class AuthorityKind(StrEnum):
    ROOT = "root"
    ISSUING = "issuing"
    SERVER = "server"


class Domain(Base):
    """An identity domain: devices are named below `_device.<name>`, records live in `zone`."""

    __tablename__ = "domains"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(253), unique=True)
    zone: Mapped[str] = mapped_column(String(253))
    profile: Mapped[str] = mapped_column(String(16))
    ttl: Mapped[int]
    created_at: Mapped[dt.datetime]


class Authority(Base):
    """A CA certificate. The key is a file named after `aki` in the state directory."""

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
    # The name it had before, in another domain, until it has enrolled under this one.
    rehomed_from_id: Mapped[int | None] = mapped_column(ForeignKey("devices.id"))
    # When its records leave the DNS because it has enrolled under its new name.
    leaves_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    # The records the DNS last confirmed, sorted, one a line; empty: none.
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
    # Seconds after `published_at` before it is handed out: caches may hold the old record set that long.
    hold_seconds: Mapped[int] = mapped_column(default=0)
    # When a retiring certificate's record leaves the DNS.
    retire_at: Mapped[dt.datetime | None] = mapped_column(index=True)

    authority: Mapped[Authority] = relationship()


class Token(Base):
    """A one-time enrollment token. Only its SHA-256 is kept: it has 256 random bits, so a slow hash adds
    nothing."""

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
    """Who did what, when. The database itself refuses to change or delete a row (triggers in the
    migration)."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    time: Mapped[dt.datetime]
    actor: Mapped[str] = mapped_column(String(120))
    action: Mapped[str] = mapped_column(String(40))
    domain_id: Mapped[int | None] = mapped_column(ForeignKey("domains.id"), index=True)
    target: Mapped[str] = mapped_column(String(253))
    detail: Mapped[dict[str, Any]]


class OutboxEntry(Base):
    """A name whose records in the DNS may differ from what the database says. Deleted once they agree."""

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
    """One event of the change feed. `subject` is what later events of the same thing supersede."""

    __tablename__ = "changes"
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    time: Mapped[dt.datetime] = mapped_column(index=True)
    type: Mapped[str] = mapped_column(String(20))
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id"), index=True)
    subject: Mapped[str] = mapped_column(String(260), index=True)
    name: Mapped[str | None] = mapped_column(String(253))
    anchor: Mapped[dict[str, Any] | None]


class Counter(Base):
    """Numbers that must follow commit order, which a sequence does not: `feed` (last seq), `horizon`
    (last forgotten)."""

    __tablename__ = "counters"
    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[int] = mapped_column(BigId)


class Rollover(Base):
    """An emergency rollover of one domain: how far it is, and what it has made so far."""

    __tablename__ = "rollovers"
    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id"), index=True)
    step: Mapped[str] = mapped_column(String(20))
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    detail: Mapped[dict[str, Any]]

    domain: Mapped[Domain] = relationship()

"""Gathers facts from the database's tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from health_report import CannotTry, Fact, NotTried
from iot_registry.core.tlsa import Profile
from iot_registry.doctor.facts import (
    ApiKeyFacts,
    AuthorityFacts,
    Contents,
    DomainFacts,
    ExpectedRecords,
    FeedFacts,
    OutboxFacts,
    RolloverFacts,
    TokenFacts,
)
from iot_registry.doctor.gather.database import session_of
from iot_registry.doctor.gather.probe import problem_of
from iot_registry.local.config import Settings
from iot_registry.publication import outbox
from iot_registry.service import status, succession
from iot_registry.service.authorities import server_anchor
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.store.models import (
    ApiKey,
    AuditEntry,
    Authority,
    AuthorityKind,
    Change,
    Device,
    DeviceStatus,
    Domain,
    OutboxEntry,
    Rollover,
    Token,
)
from web_service.core import ConfigurationError
from web_service.local import utc_now

_SAMPLE = 10
_SHOWN_DEVICES = 5


def read_contents(settings: Settings) -> Contents:
    """What the database says. Raises CannotTry if it holds no registry, OSError, DBAPIError."""
    now = utc_now()
    with session_of(settings) as session:
        if MigrationContext.configure(session.connection()).get_current_revision() is None:
            raise CannotTry("the database has no tables of a registry")
        state = status.status(session, None, settings.ca.device_days, now)
        return Contents(
            domains=_domains(session),
            outbox=OutboxFacts(state.outbox_pending, state.outbox_oldest_seconds, state.outbox_last_error),
            authorities=_authorities(session, settings, now),
            api_keys=tuple(_api_keys(session)),
            tokens=_tokens(session, now),
            feed=_feed(session, state.feed_sequence),
            rollovers=_rollovers(session),
            sample=_sample(session, now),
        )


def read_anchor(settings: Settings) -> str:
    """The certificate that clients of the server trust, in PEM. Raises CannotTry, ConfigurationError, OSError."""
    if settings.tls.anchor is not None:
        return x509.load_pem_x509_certificate(settings.tls.anchor.read_bytes()).public_bytes(Encoding.PEM).decode()
    with session_of(settings) as session:
        return server_anchor(session, settings)


def expected_records(settings: Settings, names: Iterable[str]) -> dict[str, ExpectedRecords]:
    """What these names must have now, by name; without those that have a change pending."""
    with session_of(settings) as session:
        devices = list(session.scalars(_settled().where(Device.name.in_(list(names)))))
        return {item.name: item for item in _expected(session, devices, utc_now())}


def _domains(session: Session) -> tuple[DomainFacts, ...]:
    rows = session.scalars(select(Domain).order_by(Domain.id))
    return tuple(DomainFacts(row.name, row.zone, row.ttl) for row in rows)


def _authorities(session: Session, settings: Settings, now: dt.datetime) -> tuple[AuthorityFacts, ...]:
    views = {view.aki: view for view in succession.views(session, None, settings.ca.device_days, now)}
    rows = session.scalars(select(Authority).where(Authority.retired_at.is_(None)).order_by(Authority.id))
    store: Fact[CaKeyStore]
    try:
        store = CaKeyStore(settings)
    except ConfigurationError as error:
        # A passphrase that cannot be read.
        store = NotTried(str(error))
    found = []
    for row in rows:
        path = settings.state_dir.absolute() / "ca" / f"{row.aki}.key"
        has_key, problem = _look_at_key(store, row, path)
        view = views.get(row.aki)
        found.append(
            AuthorityFacts(
                kind=row.kind,
                domain=view.domain if view else None,
                aki=row.aki,
                not_after=row.not_after,
                is_issuing=view.issuing if view else True,
                is_due=view.due if view else False,
                certificates=view.certificates if view else 0,
                key=str(path),
                has_key=has_key,
                key_problem=problem,
            )
        )
    return tuple(found)


def _look_at_key(store: Fact[CaKeyStore], row: Authority, path: Path) -> tuple[bool | None, Fact[str | None]]:
    """Whether the key of a CA is there, and what is wrong with it."""
    try:
        path.stat()
        if isinstance(store, NotTried):
            return True, store
        return True, problem_of(path, lambda: store.load(row))
    except FileNotFoundError:
        return False, None if row.kind == AuthorityKind.ROOT else f"{path} does not exist"
    except OSError as error:
        return None, NotTried(f"{path}: {error.strerror}")


def _api_keys(session: Session) -> Iterable[ApiKeyFacts]:
    for key in session.scalars(select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.created_at)):
        changed = select(func.max(AuditEntry.id)).where(AuditEntry.actor.startswith(f"key:{key.id} ", autoescape=True))
        last = session.scalars(select(AuditEntry.time).where(AuditEntry.id == changed.scalar_subquery())).first()
        yield ApiKeyFacts(
            key.id,
            key.label,
            frozenset(key.scopes),
            key.domain.name if key.domain else None,
            key.created_at,
            key.expires_at,
            last,
        )


def _tokens(session: Session, now: dt.datetime) -> TokenFacts:
    is_open = (Token.used_at.is_(None), Token.cancelled_at.is_(None), Token.expires_at > now)
    count, first = session.execute(select(func.count(Token.id), func.min(Token.expires_at)).where(*is_open)).one()
    stranded = (
        select(Device.name)
        .where(Device.status == DeviceStatus.REGISTERED)
        .where(exists().where(Token.device_id == Device.id))
        .where(~exists().where(Token.device_id == Device.id, *is_open))
    )
    total = session.scalar(select(func.count()).select_from(stranded.subquery())) or 0
    names = session.scalars(stranded.order_by(Device.name).limit(_SHOWN_DEVICES))
    return TokenFacts(count, first, total, tuple(names))


def _feed(session: Session, sequence: int) -> FeedFacts:
    events, oldest = session.execute(select(func.count(Change.seq), func.min(Change.time))).one()
    return FeedFacts(events, sequence, oldest)


def _rollovers(session: Session) -> tuple[RolloverFacts, ...]:
    rows = session.scalars(select(Rollover).where(Rollover.finished_at.is_(None)))
    return tuple(RolloverFacts(row.domain.name, row.step, row.started_at) for row in rows)


def _settled() -> Select[Device]:
    """Selects the devices that have no change pending."""
    return select(Device).where(~exists().where(OutboxEntry.device_id == Device.id))


def _sample(session: Session, now: dt.datetime) -> tuple[ExpectedRecords, ...]:
    """Some names: the latest that are active, some others of them, and the latest that were revoked."""
    active = _settled().where(Device.status == DeviceStatus.ACTIVE)
    revoked = _settled().where(Device.status == DeviceStatus.REVOKED)
    latest = Device.updated_at.desc()
    devices = {
        device.id: device
        for statement in (active.order_by(latest), active.order_by(func.random()), revoked.order_by(latest))
        for device in session.scalars(statement.limit(_SAMPLE))
    }
    return tuple(_expected(session, list(devices.values()), now))


def _expected(session: Session, devices: list[Device], now: dt.datetime) -> Iterable[ExpectedRecords]:
    certificates = outbox.certificates_of(session, [device.id for device in devices])
    for device in devices:
        profile = Profile(device.profile or device.domain.profile)
        records = outbox.desired_records(device, profile, certificates.get(device.id, []), now)
        yield ExpectedRecords(device.name, device.domain.zone, records, device.domain.ttl)

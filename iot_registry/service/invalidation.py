"""The start of an emergency rollover: one transaction that invalidates everything that a domain has issued."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from iot_registry.local.config import Settings
from iot_registry.publication import outbox
from iot_registry.service import audit, authorities
from iot_registry.service.access import Principal, Scope
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.domains import find_domain
from iot_registry.store import change_feed
from iot_registry.store.change_feed import ChangeType
from iot_registry.store.models import (
    PUBLISHED_STATES,
    Authority,
    AuthorityKind,
    Certificate,
    CertificateStatus,
    Device,
    DeviceStatus,
    Domain,
    Rollover,
    Token,
)
from web_service.store import Database


class RolloverStep(StrEnum):
    """The next step of a rollover."""

    WITHDRAW = "withdraw"
    DNSSEC = "dnssec"
    TOKENS = "tokens"
    DONE = "done"


@dataclass(frozen=True)
class StartedRollover:
    """A rollover that was started or found.

    number: its row id. resumed: it was found, after an interruption.
    bundle_files: files for its bundles, oldest first. New bundles are written to the last one.
    """

    number: int
    resumed: bool
    bundle_files: tuple[Path, ...]


def begin(
    database: Database,
    store: CaKeyStore,
    settings: Settings,
    principal: Principal,
    domain_name: str,
    bundles_file: Path | None,
    now: dt.datetime,
) -> StartedRollover:
    """Start a rollover, or find the one that was interrupted. Raises Refused, and nothing has changed then.

    With the commit, every earlier certificate and token of the domain is invalid.
    bundles_file: None: that of the interrupted rollover, or else a file in the state directory.
    """
    with database.write() as session:
        principal.require(Scope.ADMIN)
        # Held until the commit: another command that starts one waits here, and then finds this one.
        change_feed.lock(session)
        domain = find_domain(session, principal, domain_name)
        row = session.scalars(
            select(Rollover).where(Rollover.domain_id == domain.id, Rollover.step != RolloverStep.DONE)
        ).first()
        if row is not None:
            files = [str(path) for path in row.detail["bundle_files"]]
            if bundles_file is not None and str(bundles_file.absolute()) != files[-1]:
                files.append(str(bundles_file.absolute()))
                row.detail = {**row.detail, "bundle_files": files}
            return StartedRollover(row.id, True, tuple(map(Path, files)))
        target = bundles_file or settings.state_dir / f"rollover-{domain.name}.jsonl"
        row = Rollover(domain_id=domain.id, step=RolloverStep.WITHDRAW, started_at=now, detail={})
        session.add(row)
        session.flush()
        retired = _replace_authority(session, store, settings, domain, now)
        affected = _invalidate(session, domain, now)
        row.detail = {"retired": retired, "devices": affected, "bundle_files": [str(target.absolute())]}
        audit.record(
            session,
            principal,
            "rollover.begin",
            domain.name,
            now,
            domain_id=domain.id,
            devices=affected,
            retired=retired,
        )
        return StartedRollover(row.id, False, (target.absolute(),))


def _replace_authority(
    session: Session, store: CaKeyStore, settings: Settings, domain: Domain, now: dt.datetime
) -> list[str]:
    """Replace all issuing CAs of the domain by a new one; returns the key identifiers of the old ones."""
    old = list(
        session.scalars(
            select(Authority).where(
                Authority.domain_id == domain.id,
                Authority.kind == AuthorityKind.ISSUING,
                Authority.retired_at.is_(None),
            )
        )
    )
    authorities.create_issuing(session, store, settings, domain, now)
    for row in old:
        row.retired_at = now
        change_feed.append(session, ChangeType.ANCHOR_REMOVED, domain.id, now, anchor=row)
    return [row.aki for row in old]


def _invalidate(session: Session, domain: Domain, now: dt.datetime) -> int:
    """Withdraw all certificates and cancel all tokens of a domain; returns how many devices must enroll again."""
    # The locks come first: an enrollment in progress has either committed, and is seen below, or it waits and finds its
    # token cancelled. Otherwise a device could keep a certificate of the CA that is being retired.
    devices = list(
        session.scalars(select(Device).where(Device.domain_id == domain.id).order_by(Device.id).with_for_update())
    )
    ids = select(Device.id).where(Device.domain_id == domain.id)
    session.execute(
        update(Certificate)
        .where(Certificate.device_id.in_(ids), Certificate.status.in_(PUBLISHED_STATES))
        .values(status=CertificateStatus.WITHDRAWN)
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Token)
        .where(Token.device_id.in_(ids), Token.used_at.is_(None), Token.cancelled_at.is_(None))
        .values(cancelled_at=now)
        .execution_options(synchronize_session=False)
    )
    affected = 0
    for device in devices:
        if device.leaves_at is not None and device.status in (DeviceStatus.ACTIVE, DeviceStatus.REGISTERED):
            # The device has its certificate under its new name, in another domain, already.
            device.status = DeviceStatus.REHOMED
            device.updated_at = now
            outbox.enqueue(session, device, ChangeType.DEVICE_REHOMED, now)
        elif device.status == DeviceStatus.ACTIVE:
            affected += 1
            device.status = DeviceStatus.REGISTERED
            device.updated_at = now
            outbox.enqueue(session, device, ChangeType.DEVICE_CHANGED, now)
        elif device.status == DeviceStatus.REGISTERED:
            affected += 1
    return affected


def without_token(row: Rollover) -> Select[Device]:
    """Selects the devices that this rollover invalidated and that have no token of it yet.

    A device that was added after the start has a valid token of its own.
    """
    issued = select(Token.device_id).where(Token.rollover_id == row.id)
    return (
        select(Device)
        .where(
            Device.domain_id == row.domain_id,
            Device.status == DeviceStatus.REGISTERED,
            Device.created_at <= row.started_at,
            Device.id.not_in(issued),
        )
        .order_by(Device.id)
    )

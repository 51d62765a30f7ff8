"""How an emergency rollover begins: one transaction after which nothing that a domain vouched for counts any more."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from iot_registry import feed
from iot_registry.config import Settings
from iot_registry.feed import ChangeType
from iot_registry.publication import outbox
from iot_registry.service import access, authorities
from iot_registry.service.access import Principal, Scope
from iot_registry.service.domains import find_domain
from iot_registry.store.database import Database
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


class Step(StrEnum):
    """What is to be done next."""

    WITHDRAW = "withdraw"
    DNSSEC = "dnssec"
    TOKENS = "tokens"
    DONE = "done"


@dataclass(frozen=True)
class Begun:
    """A rollover that is to be carried through.

    bundle_files: where its bundles went so far, oldest first; the last one is where they go now.
    """

    number: int
    resumed: bool
    bundle_files: tuple[Path, ...]


def begin(
    database: Database,
    store: authorities.KeyStore,
    settings: Settings,
    principal: Principal,
    domain_name: str,
    bundles_file: Path | None,
    now: dt.datetime,
) -> Begun:
    """Start a rollover, or find the one that was interrupted. Raises Refused; then nothing has changed at all.

    From the commit on, no certificate and no token of before is worth anything here.
    bundles_file: None: where the interrupted one's go, or a file in the state directory.
    """
    with database.write() as session:
        principal.require(Scope.ADMIN)
        # Held until the commit: whoever else starts one waits here, and then finds it.
        feed.lock(session)
        domain = find_domain(session, principal, domain_name)
        row = session.scalars(
            select(Rollover).where(Rollover.domain_id == domain.id, Rollover.step != Step.DONE)
        ).first()
        if row is not None:
            files = [str(path) for path in row.detail["bundle_files"]]
            if bundles_file is not None and str(bundles_file.absolute()) != files[-1]:
                files.append(str(bundles_file.absolute()))
                row.detail = {**row.detail, "bundle_files": files}
            return Begun(row.id, True, tuple(map(Path, files)))
        target = bundles_file or settings.state_dir / f"rollover-{domain.name}.jsonl"
        row = Rollover(domain_id=domain.id, step=Step.WITHDRAW, started_at=now, detail={})
        session.add(row)
        session.flush()
        retired = _replace_authority(session, store, settings, domain, now)
        affected = _invalidate(session, domain, now)
        row.detail = {"retired": retired, "devices": affected, "bundle_files": [str(target.absolute())]}
        access.audit(
            session,
            principal,
            "rollover.begin",
            domain.name,
            now,
            domain_id=domain.id,
            devices=affected,
            retired=retired,
        )
        return Begun(row.id, False, (target.absolute(),))


def _replace_authority(
    session: Session, store: authorities.KeyStore, settings: Settings, domain: Domain, now: dt.datetime
) -> list[str]:
    """A new issuing CA instead of all that the domain has; returns the key identifiers of those."""
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
        feed.append(session, ChangeType.ANCHOR_REMOVED, domain.id, now, anchor=row)
    return [row.aki for row in old]


def _invalidate(session: Session, domain: Domain, now: dt.datetime) -> int:
    """Withdraw every certificate and cancel every token of a domain; returns how many devices must enroll again."""
    # Locked first: an enrollment under way has then either committed, and is seen below, or waits and finds its token
    # cancelled. Otherwise it could leave a device with a certificate of the CA that is being retired.
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
            # It has its certificate under its new name, in another domain, already.
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
    """The devices that lost their standing by this rollover, and have no token of it yet.

    A device that was added after it began has a token of its own that is good.
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

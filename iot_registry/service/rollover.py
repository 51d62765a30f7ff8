"""Emergency rollover of one domain: new issuing CA, new DNSSEC keys, every certificate invalid, new tokens.

It answers the compromise of an issuing key or of a DNSSEC key. `invalidation.begin` does the first part in one
transaction. The rest is a sequence of steps. The database holds the next one, which is repeated if it was interrupted.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from iot_registry.local.config import Settings
from iot_registry.service import bundles, tokens
from iot_registry.service.access import Principal, Scope
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.domains import find_domain
from iot_registry.service.invalidation import RolloverStep, without_token
from iot_registry.signer.base import DnsSigner
from iot_registry.store import change_feed
from iot_registry.store.change_feed import ChangeType
from iot_registry.store.models import Device, Domain, OutboxEntry, Rollover, Token
from web_service.core import Reason, Refused
from web_service.local import utc_now
from web_service.store import Database

# Tokens that one transaction makes.
TOKEN_BATCH = 200


@dataclass(frozen=True)
class RolloverProgress:
    """The progress of a rollover. devices, withdrawing, tokens, enrolled: numbers of devices."""

    domain: str
    step: RolloverStep
    started_at: dt.datetime
    finished_at: dt.datetime | None
    devices: int
    withdrawing: int
    tokens: int
    enrolled: int
    ds: list[str]
    bundle_files: list[str]


# Called with the step, how much of it is done, and the total.
ReportProgress = Callable[[RolloverStep, int, int], None]


@contextlib.contextmanager
def exclusive(state_dir: Path) -> Iterator[None]:
    """Hold the lock that lets one command at a time carry out a rollover. Raises Refused if another one holds it.

    Two commands at once would make the zone's keys twice, and cancel each other's tokens.
    """
    descriptor = os.open(state_dir / "rollover.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(Reason.CONFLICT, "another command is carrying out a rollover: wait for it to end") from None
        yield
    finally:
        os.close(descriptor)


class RolloverRunner:
    """Carries out the steps of one rollover.

    publish: makes a publication round in this process if no other process publishes.
    bundles_file: file of the devices' new enrollment bundles, one JSON object per line, mode 0600. Of several lines for
    a device, the last one counts.
    """

    def __init__(
        self,
        database: Database,
        store: CaKeyStore,
        settings: Settings,
        signer: DnsSigner | None,
        server_anchor_pem: str,
        bundles_file: Path,
        publish: Callable[[], None],
        report: ReportProgress = lambda step, done, total: None,
    ) -> None:
        self._database = database
        self._store = store
        self._settings = settings
        self._signer = signer
        self._anchor = server_anchor_pem
        self._file = bundles_file
        self._publish = publish
        self._report = report

    def run(self, number: int) -> None:
        """Carry out all remaining steps. Raises Refused, SignerError or OSError; it may be called again after that."""
        steps = {
            RolloverStep.WITHDRAW: self._withdraw,
            RolloverStep.DNSSEC: self._dnssec,
            RolloverStep.TOKENS: self._tokens,
        }
        while True:
            with self._database.read() as session:
                step = RolloverStep(session.get_one(Rollover, number).step)
            if step is RolloverStep.DONE:
                return
            steps[step](number)

    def _withdraw(self, number: int) -> None:
        """Wait until every earlier record has left the DNS, then delete the keys of the old CAs."""
        with self._database.read() as session:
            row = session.get_one(Rollover, number)
            domain_id, before = row.domain_id, row.started_at
            retired, total = list(row.detail["retired"]), int(row.detail["devices"])
        while True:
            self._publish()
            with self._database.read() as session:
                # Only earlier changes count: in a registry that is in use, there is always a later one.
                waiting = pending(session, domain_id, before)
            self._report(RolloverStep.WITHDRAW, max(0, total - waiting), total)
            if not waiting:
                break
        for aki in retired:
            self._store.destroy(aki)
        self._advance(number, RolloverStep.DNSSEC)

    def _dnssec(self, number: int) -> None:
        signer = self._signer
        if signer is None:
            self._advance(number, RolloverStep.TOKENS, announce=True)
            return
        with self._database.read() as session:
            row = session.get_one(Rollover, number)
            zone, detail = row.domain.zone, dict(row.detail)
        if "old_keys" not in detail:
            self._add_detail(number, old_keys=signer.present_keys(zone))
            with self._database.read() as session:
                detail = dict(session.get_one(Rollover, number).detail)
        old = set(detail["old_keys"])
        signer.generate_keys(zone, old)
        self._report(RolloverStep.DNSSEC, 1, 3)
        signer.remove_keys(zone, sorted(old))
        signer.sign(zone)
        self._report(RolloverStep.DNSSEC, 2, 3)
        self._add_detail(number, ds=signer.ds(zone))
        self._advance(number, RolloverStep.TOKENS, announce=True)
        self._report(RolloverStep.DNSSEC, 3, 3)

    def _tokens(self, number: int) -> None:
        """Make new tokens in batches. A batch is written to the file, then committed; after a crash it is repeated."""
        while True:
            with self._database.write() as session:
                change_feed.lock(session)
                row = session.get_one(Rollover, number)
                devices = list(session.scalars(without_token(row).limit(TOKEN_BATCH).with_for_update()))
                lines = [self._bundle(session, device, row) for device in devices]
                if lines:
                    _append_private(self._file, lines)
                total = int(row.detail["devices"])
                done = session.scalar(select(func.count(Token.id)).where(Token.rollover_id == number)) or 0
            self._report(RolloverStep.TOKENS, done, max(total, done))
            if not devices:
                break
        self._advance(number, RolloverStep.DONE)

    def _bundle(self, session: Session, device: Device, row: Rollover) -> str:
        now = utc_now()
        token, secret = tokens.create_token(
            session, device, now, self._settings.enrollment.token_hours, rollover_id=row.id
        )
        bundle = bundles.encode(self._settings, device.name, row.domain.name, secret, token.expires_at, self._anchor)
        return json.dumps({"name": device.name, "bundle": bundle})

    def _add_detail(self, number: int, **more: object) -> None:
        with self._database.write() as session:
            row = session.get_one(Rollover, number)
            row.detail = {**row.detail, **more}

    def _advance(self, number: int, step: RolloverStep, *, announce: bool = False) -> None:
        now = utc_now()
        with self._database.write() as session:
            change_feed.lock(session)
            row = session.get_one(Rollover, number)
            row.step = step
            if step is RolloverStep.DONE:
                row.finished_at = now
            if announce:
                # The DNSSEC keys belong to the zone, which may hold other domains, too.
                sharing = select(Domain.id).where(Domain.zone == row.domain.zone).order_by(Domain.id)
                for domain_id in list(session.scalars(sharing)):
                    change_feed.append(session, ChangeType.ROLLOVER, domain_id, now)


def pending(session: Session, domain_id: int, before: dt.datetime) -> int:
    """Number of the domain's names with a change up to `before` that the DNS does not serve yet."""
    return (
        session.scalar(
            select(func.count(func.distinct(OutboxEntry.device_id)))
            .join(Device, Device.id == OutboxEntry.device_id)
            .where(Device.domain_id == domain_id, OutboxEntry.created_at <= before)
        )
        or 0
    )


def progress(session: Session, principal: Principal, domain_name: str) -> RolloverProgress | None:
    """The progress of the domain's last rollover; None: there was none. Raises Refused."""
    principal.require(Scope.DOMAIN_READ)
    domain = find_domain(session, principal, domain_name)
    row = session.scalars(select(Rollover).where(Rollover.domain_id == domain.id).order_by(Rollover.id.desc())).first()
    if row is None:
        return None
    tokens = select(func.count(func.distinct(Token.device_id))).where(Token.rollover_id == row.id)
    return RolloverProgress(
        domain=domain.name,
        step=RolloverStep(row.step),
        started_at=row.started_at,
        finished_at=row.finished_at,
        devices=int(row.detail.get("devices", 0)),
        withdrawing=pending(session, domain.id, row.started_at),
        tokens=session.scalar(tokens) or 0,
        enrolled=session.scalar(tokens.where(Token.used_at.is_not(None))) or 0,
        ds=list(row.detail.get("ds", [])),
        bundle_files=list(row.detail.get("bundle_files", [])),
    )


def _append_private(path: Path, lines: list[str]) -> None:
    """Append to a file that only its owner can read, and wait until it is on disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a") as stream:
        # The file may have existed with another mode.
        os.fchmod(descriptor, 0o600)
        stream.write("".join(line + "\n" for line in lines))
        stream.flush()
        os.fsync(stream.fileno())

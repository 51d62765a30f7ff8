"""Reconciliation: comparing whole zones with the database.

It repairs what a restored backup, a lost journal or an update by another party has changed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from iot_registry.core import names
from iot_registry.core.tlsa import Profile
from iot_registry.local import metrics
from iot_registry.publication import outbox
from iot_registry.publication.dns_client import DnsClient, DnsError
from iot_registry.store.change_feed import ChangeType
from iot_registry.store.models import Device, DeviceStatus, Domain, OutboxEntry
from web_service.store import Database

log = structlog.get_logger("iot_registry.publication")


@dataclass(frozen=True)
class Difference:
    """Names for which a zone differs from the database. unknown: names that only the zone has."""

    wrong: frozenset[str]
    unknown: frozenset[str]


def compare(served: Mapping[str, frozenset[str]], desired: Mapping[str, frozenset[str]], domain: str) -> Difference:
    """Compare a zone's RRsets with the desired ones. Names outside of `_device.<domain>` are ignored. Pure."""
    below = "." + names.identity_root(domain)
    wrong = frozenset(name for name, records in desired.items() if served.get(name, frozenset()) != records)
    unknown = frozenset(name for name in served if name.endswith(below) and name not in desired)
    return Difference(wrong, unknown)


def reconcile(database: Database, client: DnsClient, now: dt.datetime) -> bool:
    """Compare every zone, queue wrong names, delete unknown ones. Returns whether all zones could be compared.

    A record without a device in the database is deleted, because nobody could revoke it.
    """
    complete = True
    with database.read() as session:
        domains = list(session.execute(select(Domain.id, Domain.name, Domain.zone, Domain.ttl)))
    for domain_id, name, zone, ttl in domains:
        with database.read() as session:
            confirmed = _confirmed(session, domain_id, now)
        try:
            served = client.transfer(zone)
        except DnsError as error:
            log.warning("reconcile.impossible", zone=zone, error=str(error))
            complete = False
            continue
        with database.write() as session:
            desired = _desired(session, domain_id, now)
            difference = compare(served, desired, name)
            # A change that was pending before or during the transfer may be missing from it without being lost.
            wrong = frozenset(name for name in difference.wrong if confirmed.get(name) == desired[name])
            queued = _queue(session, wrong, now)
        if queued:
            metrics.RECONCILED.labels("wrong").inc(queued)
            log.warning("reconcile.queued", zone=zone, names=queued)
        if difference.unknown:
            _delete(client, zone, difference.unknown, ttl)
    return complete


def _desired(session: Session, domain_id: int, now: dt.datetime) -> dict[str, frozenset[str]]:
    domain = session.get_one(Domain, domain_id)
    devices = list(session.scalars(select(Device).where(Device.domain_id == domain_id)))
    certificates = outbox.certificates_of(session, [device.id for device in devices])
    return {
        device.name: outbox.desired_records(
            device, Profile(device.profile or domain.profile), certificates.get(device.id, []), now
        )
        for device in devices
    }


def _confirmed(session: Session, domain_id: int, now: dt.datetime) -> dict[str, frozenset[str]]:
    """What the DNS must serve by now: the desired RRsets of all names that have nothing pending."""
    pending = select(Device.name).join(OutboxEntry, OutboxEntry.device_id == Device.id)
    waiting = frozenset(session.scalars(pending.where(Device.domain_id == domain_id)))
    return {name: records for name, records in _desired(session, domain_id, now).items() if name not in waiting}


def _queue(session: Session, wrong: frozenset[str], now: dt.datetime) -> int:
    queued = 0
    for name in sorted(wrong):
        device = session.scalars(select(Device).where(Device.name == name)).one()
        pending = session.scalars(select(OutboxEntry.id).where(OutboxEntry.device_id == device.id).limit(1)).first()
        if pending is None:
            active = device.status == DeviceStatus.ACTIVE
            event = ChangeType.DEVICE_CHANGED if active else ChangeType.DEVICE_REVOKED
            outbox.enqueue(session, device, event, now)
            queued += 1
    return queued


def _delete(client: DnsClient, zone: str, unknown: frozenset[str], ttl: int) -> None:
    metrics.RECONCILED.labels("unknown").inc(len(unknown))
    log.warning("reconcile.unknown_records", zone=zone, names=len(unknown), first=min(unknown))
    ordered = sorted(unknown)
    for start in range(0, len(ordered), 200):
        try:
            client.replace(zone, dict.fromkeys(ordered[start : start + 200], ()), ttl)
        except DnsError as error:
            log.warning("reconcile.failed", zone=zone, error=str(error))

"""The outbox: names whose records in the DNS may differ from the database, and the RRsets that they must have.

An entry says *that* a name must be published, never *what*: the records are derived from the database when the update
is sent. A late or repeated attempt therefore publishes the present state, whatever happened since the entry was made.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from iot_registry.core.tlsa import CertificateData, Profile, rrset
from iot_registry.store.change_feed import ChangeType, append_names, lock
from iot_registry.store.models import (
    PUBLISHED_STATES,
    Authority,
    Certificate,
    Device,
    DeviceStatus,
    Domain,
    OutboxEntry,
)

# Names of one publication round. Bounds its memory, and the time until its first name counts as published.
ROUND_SIZE = 500
FIRST_BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 30.0


@dataclass(frozen=True)
class RRsetUpdate:
    """The TLSA RRset that one name must have, and the outbox entries that are done once the DNS serves it."""

    device_id: int
    domain_id: int
    name: str
    zone: str
    ttl: int
    desired: frozenset[str]
    event: ChangeType
    entries: tuple[int, ...]
    certificates: tuple[int, ...]
    created_at: dt.datetime


def enqueue(session: Session, device: Device, event: ChangeType, now: dt.datetime) -> None:
    """Queue the device's name for publication, in the transaction that changes its records."""
    session.add(
        OutboxEntry(
            device_id=device.id,
            zone=device.domain.zone,
            event=event,
            created_at=now,
            attempts=0,
            next_attempt_at=now,
        )
    )


def backoff(attempts: int) -> float:
    """Seconds until the next attempt after `attempts` failures, with jitter so that zones do not retry in step."""
    return float(min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(attempts, 10)) * random.uniform(0.8, 1.2))  # noqa: S311 - jitter is not secret


def authority_spki(authority: Authority) -> bytes:
    return _spki_of_pem(authority.pem)


@lru_cache(maxsize=1024)
def _spki_of_pem(pem: str) -> bytes:
    public = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def certificate_data(certificate: Certificate) -> CertificateData:
    public = x509.load_der_x509_certificate(certificate.der).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return CertificateData(certificate.der, spki, authority_spki(certificate.authority))


def live_certificates(certificates: Iterable[Certificate], now: dt.datetime) -> list[Certificate]:
    """The certificates whose record must be in the DNS.

    The record of an expired one must not be: with usage 3, validators ignore expiry (RFC 7671 section 5.1).
    """
    return [
        certificate
        for certificate in certificates
        if certificate.status in PUBLISHED_STATES
        and certificate.not_after > now
        and certificate.authority.retired_at is None
    ]


def desired_records(
    device: Device, profile: Profile, certificates: Iterable[Certificate], now: dt.datetime
) -> frozenset[str]:
    """The RDATA of the TLSA RRset that the device's name must have now."""
    if device.status != DeviceStatus.ACTIVE:
        return frozenset()
    return rrset(profile, (certificate_data(certificate) for certificate in live_certificates(certificates, now)))


def certificates_of(session: Session, device_ids: Sequence[int]) -> dict[int, list[Certificate]]:
    found: dict[int, list[Certificate]] = {}
    for start in range(0, len(device_ids), ROUND_SIZE):
        part = device_ids[start : start + ROUND_SIZE]
        statement = select(Certificate).where(Certificate.device_id.in_(part), Certificate.status.in_(PUBLISHED_STATES))
        for certificate in session.scalars(statement):
            found.setdefault(certificate.device_id, []).append(certificate)
    return found


def due_updates(session: Session, now: dt.datetime, limit: int = ROUND_SIZE) -> list[RRsetUpdate]:
    """The updates of the names whose next attempt is due, oldest first. Each covers all entries of its name."""
    due = (
        select(OutboxEntry.device_id)
        .where(OutboxEntry.next_attempt_at <= now)
        .group_by(OutboxEntry.device_id)
        .order_by(func.min(OutboxEntry.id))
        .limit(limit)
    )
    ids = list(session.scalars(due))
    if not ids:
        return []
    entries: dict[int, list[OutboxEntry]] = {}
    for entry in session.scalars(select(OutboxEntry).where(OutboxEntry.device_id.in_(ids)).order_by(OutboxEntry.id)):
        entries.setdefault(entry.device_id, []).append(entry)
    rows = session.execute(select(Device, Domain).join(Domain).where(Device.id.in_(ids)))
    certificates = certificates_of(session, ids)
    updates = [
        _update(device, domain, entries[device.id], certificates.get(device.id, []), now) for device, domain in rows
    ]
    return sorted(updates, key=lambda item: item.entries[0])


def _update(
    device: Device,
    domain: Domain,
    entries: list[OutboxEntry],
    certificates: list[Certificate],
    now: dt.datetime,
) -> RRsetUpdate:
    profile = Profile(device.profile or domain.profile)
    event = ChangeType(entries[-1].event)
    if event is ChangeType.DEVICE_CHANGED and any(e.event == ChangeType.DEVICE_ADDED for e in entries):
        event = ChangeType.DEVICE_ADDED
    return RRsetUpdate(
        device_id=device.id,
        domain_id=domain.id,
        name=device.name,
        zone=domain.zone,
        ttl=domain.ttl,
        desired=desired_records(device, profile, certificates, now),
        event=event,
        entries=tuple(entry.id for entry in entries),
        certificates=tuple(c.id for c in live_certificates(certificates, now)),
        created_at=entries[0].created_at,
    )


def confirm(session: Session, updates: Sequence[RRsetUpdate], now: dt.datetime) -> None:
    """The DNS serves these RRsets: delete the outbox entries, record it, and add the events to the feed."""
    # The feed first, then the devices: the order in which every transaction locks them.
    lock(session)
    entries = [entry for item in updates for entry in item.entries]
    for part in _chunks(entries):
        session.execute(delete(OutboxEntry).where(OutboxEntry.id.in_(part)))
    session.execute(
        update(Device),
        [{"id": item.device_id, "published": "\n".join(sorted(item.desired))} for item in updates],
    )
    certificates = [certificate for item in updates if item.desired for certificate in item.certificates]
    for part in _chunks(certificates):
        session.execute(
            update(Certificate)
            .where(Certificate.id.in_(part), Certificate.published_at.is_(None))
            .values(published_at=now)
        )
    append_names(session, [(item.event, item.domain_id, item.name) for item in updates], now)


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    """Parts that are small enough for one statement."""
    for start in range(0, len(ids), ROUND_SIZE):
        yield ids[start : start + ROUND_SIZE]


def postpone(session: Session, updates: Sequence[RRsetUpdate], error: str, now: dt.datetime) -> None:
    """The attempt failed: schedule the next one, later after each failure."""
    ids = [entry for item in updates for entry in item.entries]
    attempts = session.scalar(select(func.max(OutboxEntry.attempts)).where(OutboxEntry.id.in_(ids[:500]))) or 0
    later = now + dt.timedelta(seconds=backoff(attempts))
    for start in range(0, len(ids), 500):
        session.execute(
            update(OutboxEntry)
            .where(OutboxEntry.id.in_(ids[start : start + 500]))
            .values(attempts=OutboxEntry.attempts + 1, next_attempt_at=later, last_error=error[:500])
        )


def retry_now(session: Session, zone: str, now: dt.datetime) -> None:
    """The zone's server answers again: make all postponed entries of the zone due now."""
    session.execute(
        update(OutboxEntry)
        .where(OutboxEntry.zone == zone, OutboxEntry.next_attempt_at > now)
        .values(next_attempt_at=now)
    )

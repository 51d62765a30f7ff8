"""The outbox: names whose records in the DNS may differ from the database, and what they must become.

An entry says *that* a name needs publishing, never *what*: that is worked out from the database when it
is sent. So a
late or repeated attempt publishes the present truth, whatever happened since the entry was written.
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

from iot_registry.feed import ChangeType, append_names, lock
from iot_registry.publication.profile import Credential, Profile, rrset
from iot_registry.store.models import (
    PUBLISHED_STATES,
    Authority,
    Certificate,
    Device,
    DeviceStatus,
    Domain,
    OutboxEntry,
)

# How many names one round takes: bounds its memory and the time until its first name counts as published.
ROUND_SIZE = 500
BACKOFF_FIRST = 0.25
BACKOFF_MAX = 30.0


@dataclass(frozen=True)
class Job:
    """One name to publish: the records it must have, and the outbox entries that this settles."""

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
    """Note that the device's records must be brought into line, in the transaction that changes what
    they must be."""
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
    """Seconds until the next attempt after `attempts` failures, spread so that zones do not retry in step."""
    return float(min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** min(attempts, 10)) * random.uniform(0.8, 1.2))  # noqa: S311 - no secret


def authority_spki(authority: Authority) -> bytes:
    return _spki_of_pem(authority.pem)


@lru_cache(maxsize=1024)
def _spki_of_pem(pem: str) -> bytes:
    public = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def credential(certificate: Certificate) -> Credential:
    public = x509.load_der_x509_certificate(certificate.der).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Credential(certificate.der, spki, authority_spki(certificate.authority))


def live_certificates(certificates: Iterable[Certificate], now: dt.datetime) -> list[Certificate]:
    """Those whose record must be in the DNS. An expired one must not: usage 3 ignores expiry (RFC 7671
    5.1)."""
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
    """The TLSA RRset that the device's name must have now."""
    if device.status != DeviceStatus.ACTIVE:
        return frozenset()
    return rrset(profile, (credential(certificate) for certificate in live_certificates(certificates, now)))


def certificates_of(session: Session, device_ids: Sequence[int]) -> dict[int, list[Certificate]]:
    found: dict[int, list[Certificate]] = {}
    for start in range(0, len(device_ids), ROUND_SIZE):
        part = device_ids[start : start + ROUND_SIZE]
        statement = select(Certificate).where(Certificate.device_id.in_(part), Certificate.status.in_(PUBLISHED_STATES))
        for certificate in session.scalars(statement):
            found.setdefault(certificate.device_id, []).append(certificate)
    return found


def take(session: Session, now: dt.datetime, limit: int = ROUND_SIZE) -> list[Job]:
    """The names that are due, oldest first, with all entries of each."""
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
    jobs = [_job(device, domain, entries[device.id], certificates.get(device.id, []), now) for device, domain in rows]
    return sorted(jobs, key=lambda job: job.entries[0])


def _job(
    device: Device,
    domain: Domain,
    entries: list[OutboxEntry],
    certificates: list[Certificate],
    now: dt.datetime,
) -> Job:
    profile = Profile(device.profile or domain.profile)
    event = ChangeType(entries[-1].event)
    if event is ChangeType.DEVICE_CHANGED and any(e.event == ChangeType.DEVICE_ADDED for e in entries):
        event = ChangeType.DEVICE_ADDED
    return Job(
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


def settle(session: Session, jobs: Sequence[Job], now: dt.datetime) -> None:
    """The DNS serves these records: forget the entries, note it, and tell the feed. One transaction."""
    # Before the devices' rows, in the order that every other transaction locks them.
    lock(session)
    entries = [entry for job in jobs for entry in job.entries]
    for part in _parts(entries):
        session.execute(delete(OutboxEntry).where(OutboxEntry.id.in_(part)))
    session.execute(
        update(Device),
        [{"id": job.device_id, "published": "\n".join(sorted(job.desired))} for job in jobs],
    )
    certificates = [certificate for job in jobs if job.desired for certificate in job.certificates]
    for part in _parts(certificates):
        session.execute(
            update(Certificate)
            .where(Certificate.id.in_(part), Certificate.published_at.is_(None))
            .values(published_at=now)
        )
    append_names(session, [(job.event, job.domain_id, job.name) for job in jobs], now)


def _parts(ids: list[int]) -> Iterator[list[int]]:
    """As many as one statement may list."""
    for start in range(0, len(ids), ROUND_SIZE):
        yield ids[start : start + ROUND_SIZE]


def postpone(session: Session, jobs: Sequence[Job], error: str, now: dt.datetime) -> None:
    """The attempt failed: try these again later, a little later each time."""
    ids = [entry for job in jobs for entry in job.entries]
    attempts = session.scalar(select(func.max(OutboxEntry.attempts)).where(OutboxEntry.id.in_(ids[:500]))) or 0
    later = now + dt.timedelta(seconds=backoff(attempts))
    for start in range(0, len(ids), 500):
        session.execute(
            update(OutboxEntry)
            .where(OutboxEntry.id.in_(ids[start : start + 500]))
            .values(attempts=OutboxEntry.attempts + 1, next_attempt_at=later, last_error=error[:500])
        )


def hurry(session: Session, zone: str, now: dt.datetime) -> None:
    """The zone's server answers again: do not wait for what was postponed while it did not."""
    session.execute(
        update(OutboxEntry)
        .where(OutboxEntry.zone == zone, OutboxEntry.next_attempt_at > now)
        .values(next_attempt_at=now)
    )

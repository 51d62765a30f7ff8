"""The publisher: one thread that empties the outbox into the DNS until both agree.

Only one publisher works on a database at a time (`leadership`). Everything it does may be cut off at any
instant: an
update replaces a whole RRset, so the next publisher simply does it again.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import structlog
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from iot_registry import metrics
from iot_registry.config import Endpoint, Settings, parse_endpoint
from iot_registry.feed import ChangeType, compact
from iot_registry.publication import outbox
from iot_registry.publication.dns_client import MAX_UPDATE_BYTES, DnsClient, DnsError, Notifier
from iot_registry.publication.leadership import Leadership
from iot_registry.publication.nudge import nudging
from iot_registry.publication.outbox import Job
from iot_registry.publication.reconcile import reconcile
from iot_registry.publication.tsig import TsigKey
from iot_registry.store.database import Database
from iot_registry.store.models import PUBLISHED_STATES, Certificate, CertificateStatus, Device, DeviceStatus

log = structlog.get_logger("iot_registry.publication")

# Another process (a command on this machine) may add to the outbox; this is how soon that is noticed.
POLL_SECONDS = 0.2
# Rounds begin no faster than this: names that come in between share an update, its confirmation and a commit.
ROUND_SECONDS = 0.03
HOUSEKEEPING_SECONDS = 5.0
COMPACTION_SECONDS = 600.0
CONFIRM_TRIES = 8


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Publisher:
    """Runs in a thread of its own: `start`, `wake` after a change, `stop`.

    on_settled: called with the certificates (their row numbers) whose records the DNS has taken.
    nudge: makes a slow name server look at a zone.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        key: TsigKey,
        on_settled: Callable[[Sequence[int]], None] = lambda certificates: None,
        nudge: Callable[[str], None] | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        publication = settings.publication
        self.client = DnsClient(parse_endpoint(publication.server), key, publication.timeout_seconds)
        self._confirm = [parse_endpoint(text) for text in publication.confirm] or [self.client.server]
        self._notifier = Notifier(parse_endpoint(text) for text in publication.notify)
        self._on_settled = on_settled
        self._nudge = nudge
        self._leadership = Leadership(database, settings.state_dir)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing: set[str] = set()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread:
            self._thread.join(timeout=self._settings.publication.timeout_seconds + 5)
        self._notifier.close()
        self._leadership.release()

    @property
    def healthy(self) -> bool:
        """False while a zone's server refuses or does not answer."""
        return not self._failing

    def _run(self) -> None:
        next_housekeeping = next_compaction = next_reconcile = 0.0
        while not self._stopping.is_set():
            try:
                if not self._leadership.hold():
                    self._stopping.wait(1.0)
                    continue
                if time.monotonic() >= next_reconcile:
                    complete = reconcile(self._database, self.client, utc_now())
                    every = self._settings.publication.reconcile_seconds or float("inf")
                    next_reconcile = time.monotonic() + (every if complete else min(every, 60.0))
                if time.monotonic() >= next_housekeeping:
                    self.housekeeping(utc_now())
                    next_housekeeping = time.monotonic() + HOUSEKEEPING_SECONDS
                if time.monotonic() >= next_compaction:
                    self._compact(utc_now())
                    next_compaction = time.monotonic() + COMPACTION_SECONDS
                begun = time.monotonic()
                if not self.round(utc_now()):
                    self._wake.wait(POLL_SECONDS)
                    self._wake.clear()
                # Only where there is much to do: a change that comes alone has waited long enough already.
                self._stopping.wait(max(0.0, begun + ROUND_SECONDS - time.monotonic()))
            except Exception:
                # The database is away, or a bug: say it, and go on; the outbox still holds everything.
                log.exception("publisher.failed")
                metrics.PUBLISHER_ERRORS.inc()
                self._stopping.wait(1.0)

    def round_if_leader(self, now: dt.datetime) -> bool:
        """A round in the caller's thread, if no other process publishes; returns whether anything was
        settled.
        """
        return self._leadership.hold() and self.round(now)

    def round(self, now: dt.datetime) -> bool:
        """Publish what is due once; returns whether anything was settled."""
        with self._database.read() as session:
            jobs = outbox.take(session, now)
        settled = False
        by_zone = sorted(jobs, key=lambda job: (job.zone, job.ttl))
        for (zone, ttl), group in groupby(by_zone, key=lambda job: (job.zone, job.ttl)):
            zone_jobs = sorted(group, key=lambda job: job.entries[0])
            for part in _parts(zone_jobs):
                if self._stopping.is_set():
                    return settled
                try:
                    settled |= self._publish(zone, ttl, part)
                except DnsError as error:
                    self._failed(zone, zone_jobs, error)
                    break
        return settled

    def _publish(self, zone: str, ttl: int, jobs: Sequence[Job]) -> bool:
        try:
            with nudging(self._nudge, zone):
                self.client.replace(zone, {job.name: job.desired for job in jobs}, ttl)
        except DnsError as error:
            # One name that the server will not have must not hold its neighbours up.
            if not error.refused or len(jobs) == 1:
                raise
            middle = len(jobs) // 2
            return self._publish_half(zone, ttl, jobs[:middle]) | self._publish_half(zone, ttl, jobs[middle:])
        self._notifier.notify(zone)
        confirmed = [job for job in jobs if self._serves(job)]
        missing = [job for job in jobs if job not in set(confirmed)]
        if confirmed:
            self._settle(zone, confirmed)
        if missing:
            self._failed(zone, missing, DnsError("the servers do not serve the update yet"))
        return bool(confirmed)

    def _publish_half(self, zone: str, ttl: int, jobs: Sequence[Job]) -> bool:
        try:
            return self._publish(zone, ttl, jobs)
        except DnsError as error:
            self._failed(zone, jobs, error)
            return False

    def _serves(self, job: Job) -> bool:
        return all(self._serves_at(job, server) for server in self._confirm)

    def _serves_at(self, job: Job, server: Endpoint) -> bool:
        pause = 0.01
        for _attempt in range(CONFIRM_TRIES):
            try:
                if self.client.records(job.name, server) == job.desired:
                    return True
            except DnsError as error:
                log.warning("publication.unconfirmed", name=job.name, server=str(server), error=str(error))
                return False
            self._stopping.wait(pause)
            pause *= 2
        return False

    def _settle(self, zone: str, jobs: Sequence[Job]) -> None:
        now = utc_now()
        with self._database.write() as session:
            outbox.settle(session, jobs, now)
            if zone in self._failing:
                outbox.hurry(session, zone, now)
        self._failing.discard(zone)
        for job in jobs:
            metrics.PUBLICATION_SECONDS.observe(max(0.0, (now - job.created_at).total_seconds()))
        metrics.PUBLICATIONS.labels("confirmed").inc(len(jobs))
        log.info("publication.confirmed", zone=zone, names=len(jobs), first=jobs[0].name, change=jobs[0].event)
        self._on_settled([certificate for job in jobs if job.desired for certificate in job.certificates])

    def _failed(self, zone: str, jobs: Sequence[Job], error: DnsError) -> None:
        self._failing.add(zone)
        metrics.PUBLICATIONS.labels("refused" if error.refused else "failed").inc(len(jobs))
        log.warning("publication.failed", zone=zone, names=len(jobs), error=str(error))
        with self._database.write() as session:
            outbox.postpone(session, jobs, str(error), utc_now())

    def housekeeping(self, now: dt.datetime) -> None:
        """Withdraw what has run out: old keys after their overlap, and expired certificates."""
        with self._database.read() as session:
            due = session.scalars(_run_out(now).limit(1)).first() or session.scalars(_leaving(now).limit(1)).first()
        if due is None:
            return
        with self._database.write() as session:
            withdraw(session, list(session.scalars(_run_out(now).limit(1000))), now)
            for device in list(session.scalars(_leaving(now).limit(1000))):
                device.status = DeviceStatus.REHOMED
                device.updated_at = now
                outbox.enqueue(session, device, ChangeType.DEVICE_REHOMED, now)

    def _compact(self, now: dt.datetime) -> None:
        feed = self._settings.feed
        with self._database.write() as session:
            gone = compact(session, now, feed.retention_days, feed.compact_after_days)
        if gone:
            log.info("feed.compacted", forgotten=gone)


def _run_out(now: dt.datetime) -> Select[Certificate]:
    return select(Certificate).where(
        Certificate.status.in_(PUBLISHED_STATES),
        (Certificate.not_after <= now)
        | ((Certificate.status == CertificateStatus.RETIRING) & (Certificate.retire_at <= now)),
    )


def _leaving(now: dt.datetime) -> Select[Device]:
    # Registered: its certificate under this name was lost to a rollover or ran out meanwhile.
    standing = (DeviceStatus.ACTIVE, DeviceStatus.REGISTERED)
    return select(Device).where(Device.leaves_at <= now, Device.status.in_(standing))


def withdraw(session: Session, certificates: Iterable[Certificate], now: dt.datetime) -> None:
    """Take certificates' records out of the DNS for good."""
    devices: dict[int, Device] = {}
    for certificate in certificates:
        certificate.status = CertificateStatus.WITHDRAWN
        devices[certificate.device_id] = session.get_one(Device, certificate.device_id)
    for device in devices.values():
        outbox.enqueue(session, device, ChangeType.DEVICE_CHANGED, now)


def _parts(jobs: Sequence[Job]) -> Iterable[list[Job]]:
    """Cut into updates that fit one DNS message."""
    part: list[Job] = []
    size = 0
    for job in jobs:
        # Owner names compress to a pointer after their first use; count the whole name all the same.
        need = len(job.name) + 12 + sum(len(record) // 2 + 20 for record in job.desired)
        if part and size + need > MAX_UPDATE_BYTES:
            yield part
            part, size = [], 0
        part.append(job)
        size += need
    if part:
        yield part

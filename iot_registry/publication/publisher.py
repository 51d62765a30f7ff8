"""The publisher: one thread that sends the names in the outbox to the DNS.

One publisher works on a database at a time (see `leadership`). It may be interrupted at any instant: an update replaces
whole RRsets, so that the next publisher can repeat it.
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

from iot_registry.local import metrics
from iot_registry.local.config import Settings
from iot_registry.local.tsig_keys import TsigKey
from iot_registry.publication import outbox
from iot_registry.publication.dns_client import MAX_UPDATE_OCTETS, DnsClient, DnsError, Notifier
from iot_registry.publication.leadership import Leadership
from iot_registry.publication.outbox import RRsetUpdate
from iot_registry.publication.reconciliation import reconcile
from iot_registry.publication.update_delay import bounded_delay
from iot_registry.store.change_feed import ChangeType, compact
from iot_registry.store.models import PUBLISHED_STATES, Certificate, CertificateStatus, Device, DeviceStatus
from web_service.local import Endpoint, parse_endpoint, utc_now
from web_service.store import Database

log = structlog.get_logger("iot_registry.publication")

# How soon entries of another process, such as a command on this machine, are noticed.
POLL_SECONDS = 0.2
# Rounds start at least this far apart. Names that are queued in between share an update and a commit.
ROUND_SECONDS = 0.03
HOUSEKEEPING_SECONDS = 5.0
COMPACTION_SECONDS = 600.0
CONFIRM_TRIES = 8


class Publisher:
    """Runs in a thread of its own: `start`, then `wake` after each change, then `stop`.

    on_published: called with the certificates (row ids) whose records the DNS serves now.
    process_updates: makes the name server apply the updates in its queue; see `update_delay`.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        key: TsigKey,
        on_published: Callable[[Sequence[int]], None] = lambda certificates: None,
        process_updates: Callable[[str], None] | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        publication = settings.publication
        self.client = DnsClient(parse_endpoint(publication.server), key, publication.timeout_seconds)
        self._confirming_servers = [parse_endpoint(text) for text in publication.confirm] or [self.client.server]
        self._notifier = Notifier(parse_endpoint(text) for text in publication.notify)
        self._on_published = on_published
        self._process_updates = process_updates
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
                # This delays a busy publisher only: a single change has waited for that long already.
                self._stopping.wait(max(0.0, begun + ROUND_SECONDS - time.monotonic()))
            except Exception:
                # The database does not answer, or there is a defect. The outbox still holds every name.
                log.exception("publisher.failed")
                metrics.PUBLISHER_ERRORS.inc()
                self._stopping.wait(1.0)

    def round_if_leader(self, now: dt.datetime) -> bool:
        """A round in the caller's thread, if no other process publishes; returns whether anything was published."""
        return self._leadership.hold() and self.round(now)

    def round(self, now: dt.datetime) -> bool:
        """Make one attempt for each name that is due; returns whether anything was published."""
        with self._database.read() as session:
            updates = outbox.due_updates(session, now)
        published = False
        by_zone = sorted(updates, key=lambda item: (item.zone, item.ttl))
        for (zone, ttl), group in groupby(by_zone, key=lambda item: (item.zone, item.ttl)):
            zone_updates = sorted(group, key=lambda item: item.entries[0])
            for part in split_to_messages(zone_updates):
                if self._stopping.is_set():
                    return published
                try:
                    published |= self._publish(zone, ttl, part)
                except DnsError as error:
                    self._record_failure(zone, zone_updates, error)
                    break
        return published

    def _publish(self, zone: str, ttl: int, updates: Sequence[RRsetUpdate]) -> bool:
        try:
            with bounded_delay(self._process_updates, zone):
                self.client.replace(zone, {item.name: item.desired for item in updates}, ttl)
        except DnsError as error:
            # A name that the server refuses must not delay the others: find it by halving.
            if not error.refused or len(updates) == 1:
                raise
            middle = len(updates) // 2
            return self._publish_half(zone, ttl, updates[:middle]) | self._publish_half(zone, ttl, updates[middle:])
        self._notifier.notify(zone)
        confirmed = [item for item in updates if self._serves(item)]
        served = set(confirmed)
        missing = [item for item in updates if item not in served]
        if confirmed:
            self._record_published(zone, confirmed)
        if missing:
            self._record_failure(zone, missing, DnsError("not every server of `confirm` serves the update yet"))
        return bool(confirmed)

    def _publish_half(self, zone: str, ttl: int, updates: Sequence[RRsetUpdate]) -> bool:
        try:
            return self._publish(zone, ttl, updates)
        except DnsError as error:
            self._record_failure(zone, updates, error)
            return False

    def _serves(self, item: RRsetUpdate) -> bool:
        return all(self._serves_at(item, server) for server in self._confirming_servers)

    def _serves_at(self, item: RRsetUpdate, server: Endpoint) -> bool:
        pause = 0.01
        for _attempt in range(CONFIRM_TRIES):
            try:
                if self.client.records(item.name, server) == item.desired:
                    return True
            except DnsError as error:
                log.warning("publication.unconfirmed", name=item.name, server=str(server), error=str(error))
                return False
            self._stopping.wait(pause)
            pause *= 2
        return False

    def _record_published(self, zone: str, updates: Sequence[RRsetUpdate]) -> None:
        now = utc_now()
        with self._database.write() as session:
            outbox.confirm(session, updates, now)
            if zone in self._failing:
                outbox.retry_now(session, zone, now)
        self._failing.discard(zone)
        for item in updates:
            metrics.PUBLICATION_SECONDS.observe(max(0.0, (now - item.created_at).total_seconds()))
        metrics.PUBLICATIONS.labels("confirmed").inc(len(updates))
        log.info("publication.confirmed", zone=zone, names=len(updates), first=updates[0].name, change=updates[0].event)
        self._on_published([certificate for item in updates if item.desired for certificate in item.certificates])

    def _record_failure(self, zone: str, updates: Sequence[RRsetUpdate], error: DnsError) -> None:
        self._failing.add(zone)
        metrics.PUBLICATIONS.labels("refused" if error.refused else "failed").inc(len(updates))
        log.warning("publication.failed", zone=zone, names=len(updates), error=str(error))
        with self._database.write() as session:
            outbox.postpone(session, updates, str(error), utc_now())

    def housekeeping(self, now: dt.datetime) -> None:
        """Withdraw expired certificates, replaced ones after their overlap, and names that devices have left."""
        with self._database.read() as session:
            due = session.scalars(_expired(now).limit(1)).first() or session.scalars(_left_names(now).limit(1)).first()
        if due is None:
            return
        with self._database.write() as session:
            withdraw(session, list(session.scalars(_expired(now).limit(1000))), now)
            for device in list(session.scalars(_left_names(now).limit(1000))):
                device.status = DeviceStatus.REHOMED
                device.updated_at = now
                outbox.enqueue(session, device, ChangeType.DEVICE_REHOMED, now)

    def _compact(self, now: dt.datetime) -> None:
        feed = self._settings.feed
        with self._database.write() as session:
            deleted = compact(session, now, feed.retention_days, feed.compact_after_days)
        if deleted:
            log.info("feed.compacted", deleted=deleted)


def _expired(now: dt.datetime) -> Select[Certificate]:
    return select(Certificate).where(
        Certificate.status.in_(PUBLISHED_STATES),
        (Certificate.not_after <= now)
        | ((Certificate.status == CertificateStatus.RETIRING) & (Certificate.retire_at <= now)),
    )


def _left_names(now: dt.datetime) -> Select[Device]:
    # A registered device counts too: a rollover or expiry may have ended its certificate under this name.
    with_name = (DeviceStatus.ACTIVE, DeviceStatus.REGISTERED)
    return select(Device).where(Device.leaves_at <= now, Device.status.in_(with_name))


def withdraw(session: Session, certificates: Iterable[Certificate], now: dt.datetime) -> None:
    """Withdraw certificates, and queue their devices for publication."""
    devices: dict[int, Device] = {}
    for certificate in certificates:
        certificate.status = CertificateStatus.WITHDRAWN
        devices[certificate.device_id] = session.get_one(Device, certificate.device_id)
    for device in devices.values():
        outbox.enqueue(session, device, ChangeType.DEVICE_CHANGED, now)


def split_to_messages(updates: Sequence[RRsetUpdate]) -> Iterable[list[RRsetUpdate]]:
    """Divide updates into parts that fit one DNS message each."""
    part: list[RRsetUpdate] = []
    size = 0
    for item in updates:
        # A later use of an owner name is compressed to a pointer. Counting the whole name is on the safe side.
        need = len(item.name) + 12 + sum(len(record) // 2 + 20 for record in item.desired)
        if part and size + need > MAX_UPDATE_OCTETS:
            yield part
            part, size = [], 0
        part.append(item)
        size += need
    if part:
        yield part

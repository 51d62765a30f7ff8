"""Which records the DNS must serve, and how the outbox publishes them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from iot_registry.core.certificate_requests import VettedRequest, vet
from iot_registry.core.tlsa import CertificateData, Profile, rdata, rrset
from iot_registry.local.config import Endpoint
from iot_registry.local.tsig_keys import TsigKey
from iot_registry.publication import outbox
from iot_registry.publication.dns_client import DnsClient
from iot_registry.publication.outbox import RRsetUpdate
from iot_registry.publication.publisher import MAX_UPDATE_OCTETS, split_to_messages
from iot_registry.publication.reconciliation import compare, reconcile
from iot_registry.service import devices
from iot_registry.service.schemas import DeviceCreate
from iot_registry.signer import config_files
from iot_registry.store.change_feed import ChangeType
from iot_registry.store.models import Certificate, CertificateStatus, Change, Device, OutboxEntry
from tests.unit.iot_registry.conftest import NOW, WHO, Bench, csr

CREDENTIAL = CertificateData(b"certificate", b"key", b"authority key")


@pytest.mark.parametrize(
    ("profile", "association"),
    [
        (Profile.SPKI, hashlib.sha256(b"key").hexdigest()),
        (Profile.CERTIFICATE, hashlib.sha256(b"certificate").hexdigest()),
        (Profile.AUTHORITY, hashlib.sha256(b"authority key").hexdigest()),
        (Profile.PKIX_CD, b"certificate".hex()),
    ],
)
def test_records_by_profile(profile: Profile, association: str) -> None:
    assert rdata(profile, CREDENTIAL) == f"{profile} {association}"


def test_two_certificates_of_one_key_make_one_record() -> None:
    other = CertificateData(b"renewed", b"key", b"authority key")
    assert len(rrset(Profile.SPKI, [CREDENTIAL, other])) == 1
    assert len(rrset(Profile.CERTIFICATE, [CREDENTIAL, other])) == 2
    assert rrset(Profile.SPKI, []) == frozenset()


@given(st.integers(0, 10_000))
def test_backoff_grows_and_is_bounded(attempts: int) -> None:
    seconds = outbox.backoff(attempts)
    assert 0.2 <= seconds <= outbox.MAX_BACKOFF_SECONDS * 1.2


def test_reconciliation_judges_only_names_below_device() -> None:
    served = {
        "a.t._device.home.example": frozenset({"3 1 1 aa"}),
        "b.t._device.home.example": frozenset({"3 1 1 bb"}),
        "stray.t._device.home.example": frozenset({"3 1 1 cc"}),
        "_443._tcp.www.home.example": frozenset({"3 1 1 dd"}),
        "x.t._device.other.home.example": frozenset({"3 1 1 ee"}),
    }
    desired = {
        "a.t._device.home.example": frozenset({"3 1 1 aa"}),
        "b.t._device.home.example": frozenset[str](),
        "c.t._device.home.example": frozenset({"3 1 1 ff"}),
    }
    difference = compare(served, desired, "home.example")
    assert difference.wrong == {"b.t._device.home.example", "c.t._device.home.example"}
    assert difference.unknown == {"stray.t._device.home.example"}


class ZoneAt(DnsClient):
    """A zone as it was transferred, while `meanwhile` happens in the registry."""

    def __init__(self, served: dict[str, frozenset[str]], meanwhile: Callable[[], None]) -> None:
        super().__init__(Endpoint("127.0.0.1", 53), TsigKey("k", bytes(32)), 1)
        self._served, self._meanwhile = served, meanwhile

    def transfer(self, zone: str) -> dict[str, frozenset[str]]:
        self._meanwhile()
        return self._served


@pytest.mark.parametrize("moment", ["before", "during", "never"])
def test_what_is_published_during_a_transfer_is_not_found_missing(bench: Bench, moment: str) -> None:
    """A transfer from before the update does not prove that the update was lost."""
    device(bench, "a")

    def publish() -> None:
        with bench.database.write() as session:
            outbox.confirm(session, outbox.due_updates(session, NOW), NOW)

    if moment == "before":
        publish()
    assert reconcile(bench.database, ZoneAt({}, publish if moment == "during" else lambda: None), NOW)
    # Lost: queued again. Published meanwhile: nothing to do. Still pending: it is queued already.
    assert len(take(bench)) == {"before": 1, "during": 0, "never": 1}[moment]
    with bench.database.read() as session:
        assert session.scalar(select(func.count()).select_from(OutboxEntry)) == len(take(bench))


def job(number: int, records: frozenset[str]) -> RRsetUpdate:
    name = f"{'d' * 40}{number}.camera._device.home.example"
    return RRsetUpdate(number, 1, name, "home.example", 60, records, ChangeType.DEVICE_ADDED, (number,), (), NOW)


@given(st.lists(st.integers(0, 3000), max_size=200))
def test_updates_are_cut_to_fit_a_message_and_nothing_is_left_out(sizes: list[int]) -> None:
    jobs = [job(number, frozenset({"4 0 0 " + "ab" * size})) for number, size in enumerate(sizes)]
    parts = list(split_to_messages(jobs))
    assert [entry for part in parts for entry in part] == jobs
    for part in parts:
        wire = sum(len(entry.name) + 12 + sum(len(r) // 2 + 20 for r in entry.desired) for entry in part)
        assert wire <= MAX_UPDATE_OCTETS or len(part) == 1


def device(bench: Bench, label: str) -> str:
    with bench.database.write() as session:
        created = devices.create(session, WHO, DeviceCreate(label=label, type="t"), "home.example", NOW)
        row = bench.enrollment.issue(session, created, _vetted(created.name), NOW, WHO)
        row.status = CertificateStatus.CURRENT
    return created.name


def _vetted(name: str) -> VettedRequest:
    return vet(csr(name), name)


def take(bench: Bench, at: dt.datetime = NOW) -> list[RRsetUpdate]:
    with bench.database.read() as session:
        return outbox.due_updates(session, at)


def test_an_entry_publishes_the_present_not_the_past(bench: Bench) -> None:
    name = device(bench, "a")
    (first,) = take(bench)
    assert (len(first.desired), first.event) == (1, ChangeType.DEVICE_ADDED)
    with bench.database.write() as session:
        devices.revoke(session, WHO, name, "", NOW)
    (second,) = take(bench)
    assert (second.desired, second.event, len(second.entries)) == (frozenset(), ChangeType.DEVICE_REVOKED, 2)
    # The update from before the revocation is confirmed late: the revocation stays in the outbox.
    with bench.database.write() as session:
        outbox.confirm(session, [first], NOW)
    (third,) = take(bench)
    assert (third.desired, third.event) == (frozenset(), ChangeType.DEVICE_REVOKED)
    with bench.database.write() as session:
        outbox.confirm(session, [third], NOW)
    assert take(bench) == []
    with bench.database.read() as session:
        kinds = list(session.scalars(select(Change.type).where(Change.name == name).order_by(Change.seq)))
    assert kinds == ["device.added", "device.revoked"]


def test_a_failed_attempt_waits_and_keeps_its_error(bench: Bench) -> None:
    device(bench, "a")
    with bench.database.write() as session:
        outbox.postpone(session, take(bench), "refused", NOW)
    assert take(bench) == []
    assert len(take(bench, NOW + dt.timedelta(seconds=1))) == 1
    with bench.database.write() as session:
        outbox.retry_now(session, "home.example", NOW)
    assert len(take(bench)) == 1
    with bench.database.read() as session:
        entry = session.scalars(select(OutboxEntry)).one()
        assert (entry.attempts, entry.last_error) == (1, "refused")


def test_an_expired_certificate_has_no_record(bench: Bench) -> None:
    """Usage 3 makes validators ignore expiry (RFC 7671 section 5.1), so the record itself must go."""
    name = device(bench, "a")
    with bench.database.read() as session:
        row = session.scalars(select(Device).where(Device.name == name)).one()
        certificates = list(session.scalars(select(Certificate)))
        before = outbox.desired_records(row, Profile.SPKI, certificates, certificates[0].not_after - dt.timedelta(1))
        after = outbox.desired_records(row, Profile.SPKI, certificates, certificates[0].not_after)
    assert (len(before), len(after)) == (1, 0)


def test_the_knot_configuration_limits_the_key_to_tlsa_below_the_apex() -> None:
    key = TsigKey("k", bytes(32))
    text = config_files.knot_conf(Endpoint("::1", 53), key, Path("/f"), Path("/z"))
    assert "listen: ::1@53" in text
    assert "update-type: [TLSA]" in text
    assert "update-owner-match: sub\n" in text
    assert "AAAA ::1" in config_files.zone_file("home.example", "::1")
    assert "device" not in config_files.zone_file("_device.home.example", "127.0.0.1").replace("_device", "")

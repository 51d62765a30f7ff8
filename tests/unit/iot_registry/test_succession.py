"""Succession: an issuing CA gets a successor in time, and is retired when no certificate depends on it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from iot_registry.core import ca_certificates
from iot_registry.local import private_keys
from iot_registry.publication import outbox
from iot_registry.publication.publisher import withdraw
from iot_registry.service import authorities, ca_key_store, devices, domains, status, succession
from iot_registry.service.access import Principal, Scope
from iot_registry.service.schemas import AuthorityView, DeviceCreate, DomainCreate
from iot_registry.store import change_feed
from iot_registry.store.models import Authority, AuthorityKind, Certificate, Change
from tests.unit.iot_registry.conftest import NOW, WHO, Bench, csr
from tests.unit.iot_registry.test_services import actions, deliver, enroll, refused, registered
from web_service.core import Reason

# Issuing CAs last 1825 days, device certificates 365, and the margin is 90.
DUE = NOW + dt.timedelta(days=1825 - 365 - 90, seconds=1)


def renew(bench: Bench, at: dt.datetime = DUE, *, force: bool = False, who: Principal = WHO) -> Authority:
    with bench.database.write() as session:
        return succession.renew(session, who, bench.store, bench.settings, "home.example", at, force=force)


def retire(bench: Bench, at: dt.datetime = DUE) -> list[str]:
    with bench.database.write() as session:
        return [row.aki for row in succession.retire(session, at)]


def views(bench: Bench, at: dt.datetime = DUE) -> list[AuthorityView]:
    with bench.database.read() as session:
        return status.status(session, None, bench.settings.ca.device_days, at).authorities


def live(bench: Bench) -> list[Authority]:
    with bench.database.read() as session:
        domain = domains.find_domain(session, WHO, "home.example")
        return domains.chain(session, domain)[:-1]


def test_a_successor_is_made_when_it_is_due_and_not_before(bench: Bench) -> None:
    (old,) = live(bench)
    for at in (NOW, DUE - dt.timedelta(seconds=2)):
        with refused(Reason.CONFLICT):
            renew(bench, at)
        assert [view.due for view in views(bench, at)] == [False, False]
    assert [(view.kind, view.due) for view in views(bench)] == [("root", False), ("issuing", True)]
    new = renew(bench)
    assert [row.aki for row in live(bench)] == [new.aki, old.aki]
    assert [(v.generation, v.issuing, v.due) for v in views(bench)[1:]] == [(1, False, False), (2, True, False)]
    with refused(Reason.CONFLICT):
        renew(bench)
    assert renew(bench, force=True).generation == 3
    assert actions(bench).count("ca.renew") == 2


def test_only_an_administrator_of_the_registry_makes_one(bench: Bench) -> None:
    with refused(Reason.FORBIDDEN):
        renew(bench, who=Principal("key:x", frozenset(Scope) - {Scope.ADMIN}))
    with refused(Reason.NOT_FOUND):
        renew(bench, who=Principal("key:x", frozenset({Scope.ADMIN}), domain_id=99))
    assert len(live(bench)) == 1


def test_it_needs_the_roots_key_and_then_nothing_has_changed(bench: Bench, tmp_path: Path) -> None:
    with bench.database.read() as session:
        root = authorities.singleton(session, AuthorityKind.ROOT)
    offline = tmp_path / "usb.key"
    bench.store.path(root.aki).rename(offline)
    with refused(Reason.UNAVAILABLE):
        renew(bench)
    assert len(live(bench)) == 1
    assert "ca.renew" not in actions(bench)
    away = ca_key_store.CaKeyStore(bench.settings, offline)
    with bench.database.write() as session:
        succession.renew(session, WHO, away, bench.settings, "home.example", DUE)


@pytest.mark.parametrize("profile", ["3 1 1", "2 1 1"])
def test_the_old_one_goes_with_its_last_certificate(bench: Bench, profile: str) -> None:
    (old,) = live(bench)
    key = ec.generate_private_key(ec.SECP256R1())
    with bench.database.write() as session:
        wanted = DeviceCreate(label="a", type="t", profile=profile)  # type: ignore[arg-type]  # pydantic converts it
        device = devices.create(session, WHO, wanted, "home.example", DUE)
        _token, secret = devices.issue_token(session, WHO, device, DUE, 1)
    held = deliver(bench, enroll(bench, device.name, secret, csr(device.name, key), DUE), DUE)
    new = renew(bench)
    assert retire(bench) == []
    # The successor issues from now on; the old certificate is still accepted for a renewal.
    with bench.database.write() as session:
        domain = domains.find_domain(session, WHO, "home.example")
        renewed = bench.enrollment.by_certificate(session, domain, held.der, csr(device.name, key), DUE)
        assert renewed.authority_id == new.id
        (job,) = outbox.due_updates(session, DUE)
    assert len(job.desired) == (1 if profile == "3 1 1" else 2)
    issued = x509.load_der_x509_certificate(renewed.der)
    issued.verify_directly_issued_by(authorities.certificate(new))
    deliver(bench, renewed, DUE)
    assert retire(bench) == []
    with bench.database.write() as session:
        withdraw(session, [session.get_one(Certificate, held.id)], DUE)
    assert retire(bench) == [old.aki]
    assert retire(bench) == []
    assert [row.aki for row in live(bench)] == [new.aki]
    with bench.database.read() as session:
        (last,) = session.scalars(select(Change).order_by(Change.seq.desc()).limit(1))
        assert (last.type, last.anchor) == ("anchor.removed", change_feed.anchor_payload(old))
        assert succession.retired_keys(session) == [old.aki]
    assert actions(bench)[-1] == "ca.retire"
    with bench.database.read() as session, refused(Reason.NOT_FOUND):
        authorities.by_key_identifier(session, old.aki)


def test_a_revoked_devices_certificate_keeps_its_ca_until_it_ends(bench: Bench) -> None:
    """The device may be restored, and its certificate is valid then."""
    name, secret = registered(bench)
    held = deliver(bench, enroll(bench, name, secret, csr(name)))
    renew(bench)
    with bench.database.write() as session:
        devices.revoke(session, WHO, name, "", NOW)
    assert retire(bench) == []
    with bench.database.write() as session:
        withdraw(session, [session.get_one(Certificate, held.id)], DUE)
    assert len(retire(bench)) == 1


def test_the_only_ca_is_never_retired(bench: Bench) -> None:
    with bench.database.write() as session:
        domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name="b.example"), NOW)
    assert retire(bench, NOW + dt.timedelta(days=5000)) == []
    renew(bench)
    assert len(retire(bench)) == 1
    assert [(view.domain, view.generation) for view in views(bench)[1:]] == [("b.example", 1), ("home.example", 2)]


def test_a_ca_that_has_ended_issues_nothing_and_spends_no_token(bench: Bench) -> None:
    end = live(bench)[0].not_after
    with bench.database.write() as session:
        device = devices.create(session, WHO, DeviceCreate(label="a", type="t"), "home.example", NOW)
        _token, secret = devices.issue_token(session, WHO, device, end, 1)
    with refused(Reason.UNAVAILABLE):
        enroll(bench, device.name, secret, csr(device.name), end)
    renew(bench, end)
    assert enroll(bench, device.name, secret, csr(device.name), end).status == "pending"


def test_no_issuing_ca_outlives_the_root(bench: Bench) -> None:
    with bench.database.read() as session:
        root = authorities.certificate(authorities.singleton(session, AuthorityKind.ROOT))
    near = root.not_valid_after_utc - dt.timedelta(days=10)
    assert renew(bench, near).not_after <= root.not_valid_after_utc
    with refused(Reason.UNAVAILABLE):
        renew(bench, root.not_valid_after_utc - dt.timedelta(hours=1), force=True)
    key = private_keys.generate()
    made = ca_certificates.issuing(key.public_key(), "home.example", 9, key, root, near, 1825)
    assert made.not_valid_after_utc <= root.not_valid_after_utc


def test_an_administrator_of_one_domain_sees_its_own_cas_and_the_root(bench: Bench) -> None:
    with bench.database.write() as session:
        other = domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name="b.example"), NOW)
    name, secret = registered(bench)
    enroll(bench, name, secret, csr(name))
    with bench.database.read() as session:
        seen = status.status(session, other.id, 365, NOW).authorities
    assert [(view.kind, view.domain, view.certificates) for view in seen] == [
        ("root", None, 0),
        ("issuing", "b.example", 0),
    ]
    assert [view.certificates for view in views(bench, NOW)] == [0, 0, 1]


def test_long_domains_do_not_share_a_subject(bench: Bench) -> None:
    """A common name has at most 64 characters (X.520), and a network refuses two CAs with one subject."""
    long = "a" * 60 + "."
    subjects = set()
    with bench.database.write() as session:
        for name in (long + "b.example", long + "c.example", "short.example"):
            domain = domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name=name), NOW)
            cert = authorities.certificate(authorities.active_issuing(session, domain.id))
            subjects.add(cert.subject.rfc4514_string())
    assert len(subjects) == 3
    assert "CN=Device CA 1 of short.example" in subjects
    assert all(len(subject) <= len("CN=") + 64 for subject in subjects)

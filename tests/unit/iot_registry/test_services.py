"""Tokens, keys, the audit log and rate limits, on a real database without daemons."""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from iot_registry.publication import outbox
from iot_registry.service import (
    api_keys,
    audit,
    authorities,
    bundles,
    ca_key_store,
    devices,
    domains,
)
from iot_registry.service.access import Principal, Scope
from iot_registry.service.enrollment import REDELIVERY_PERIOD
from iot_registry.service.schemas import DeviceCreate, DomainCreate
from iot_registry.store import migrate
from iot_registry.store.change_feed import ChangeType
from iot_registry.store.models import AuthorityKind, Base, Certificate, Domain
from iot_registry.web.failure_limit import MAX_KEYS, FailureLimit
from tests.unit.iot_registry.conftest import NOW, WHO, Bench, csr
from web_service.core import ConfigurationError, Reason, Refused
from web_service.local import secret_digest


def registered(bench: Bench, label: str = "a") -> tuple[str, str]:
    """A device with a token; returns its name and the token."""
    with bench.database.write() as session:
        device = devices.create(session, WHO, DeviceCreate(label=label, type="t"), "home.example", NOW)
        _token, secret = devices.issue_token(session, WHO, device, NOW, 1)
    return device.name, secret


def enroll(bench: Bench, name: str, secret: str, request: bytes, at: dt.datetime = NOW) -> Certificate:
    with bench.database.write() as session:
        domain = domains.find_domain(session, WHO, "home.example")
        return bench.enrollment.by_token(session, domain, name, secret, request, at)


def refused(reason: Reason):  # type: ignore[no-untyped-def]
    return pytest.raises(Refused, check=lambda error: error.reason is reason)


def test_the_schema_is_what_the_models_say(bench: Bench) -> None:
    with bench.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_database_of_a_newer_version_is_refused(bench: Bench) -> None:
    with bench.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        migrate.upgrade(bench.database)


def test_the_audit_log_can_only_grow(bench: Bench) -> None:
    registered(bench)
    for statement in ("UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"):
        with pytest.raises(IntegrityError, match="append-only"), bench.database.write() as session:
            session.execute(text(statement))
    with bench.database.read() as session:
        entries, _next = audit.page(session, WHO)
    assert [entry.action for entry in entries] == ["domain.add", "device.add", "device.token"]


def test_a_token_is_stored_as_a_hash_only(bench: Bench) -> None:
    _name, secret = registered(bench)
    raw = (bench.settings.state_dir / "registry.db").read_bytes()
    raw += (bench.settings.state_dir / "registry.db-wal").read_bytes()
    assert secret.encode() not in raw
    assert secret_digest(secret).encode() in raw


def test_of_many_enrollments_with_one_token_exactly_one_is_granted(bench: Bench) -> None:
    name, secret = registered(bench)
    granted, turned_away = [], []

    def one() -> None:
        try:
            granted.append(enroll(bench, name, secret, csr(name)))
        except Refused as error:
            turned_away.append(error.reason)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(granted), turned_away) == (1, [Reason.UNAUTHENTICATED] * 7)


def test_a_token_ends_with_its_time_and_with_its_successor(bench: Bench) -> None:
    name, first = registered(bench)
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, name, first, csr(name), NOW + dt.timedelta(hours=1))
    with bench.database.write() as session:
        _row, second = devices.issue_token(session, WHO, devices.find(session, WHO, name), NOW, 1)
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, name, first, csr(name))
    assert enroll(bench, name, second, csr(name)).status == "pending"


def actions(bench: Bench) -> list[str]:
    with bench.database.read() as session:
        return [entry.action for entry in audit.page(session, WHO)[0]]


def deliver(bench: Bench, row: Certificate, at: dt.datetime = NOW) -> Certificate:
    with bench.database.write() as session:
        return bench.enrollment.deliver(session, row.id, at)


def test_the_same_request_may_come_again_until_it_was_answered(bench: Bench) -> None:
    name, secret = registered(bench)
    key = ec.generate_private_key(ec.SECP256R1())
    waiting = enroll(bench, name, secret, csr(name, key))
    # After a 202, the device repeats its request (RFC 7030 section 4.2.3); another key is refused.
    assert enroll(bench, name, secret, csr(name, key)).id == waiting.id
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, name, secret, csr(name))
    # The token was spent in time: that it expires during an outage of the DNS does not matter.
    assert enroll(bench, name, secret, csr(name, key), NOW + dt.timedelta(hours=2)).id == waiting.id
    assert actions(bench).count("certificate.again") == 0


def test_a_lost_answer_can_be_fetched_again_for_a_while_by_the_same_key_only(bench: Bench) -> None:
    name, secret = registered(bench)
    key = ec.generate_private_key(ec.SECP256R1())
    first = deliver(bench, enroll(bench, name, secret, csr(name, key)))
    almost = NOW + REDELIVERY_PERIOD - dt.timedelta(seconds=1)
    again = deliver(bench, enroll(bench, name, secret, csr(name, key), almost), almost)
    assert (again.id, again.der, again.delivered_at) == (first.id, first.der, NOW)
    for request in (csr(name), csr("b.t._device.home.example", key), b"0\0"):
        with pytest.raises(Refused):
            enroll(bench, name, secret, request, almost)
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, name, secret[:-1], csr(name, key), almost)
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, name, secret, csr(name, key), NOW + REDELIVERY_PERIOD)
    with bench.database.read() as session:
        assert len(list(session.scalars(select(Certificate)))) == 1
    assert actions(bench).count("certificate.issue") == 1
    assert actions(bench).count("certificate.again") == 1


def test_a_spent_token_ends_with_what_comes_after_it(bench: Bench) -> None:
    """No certificate is delivered again after a renewal, a revocation, or an enrollment with another token."""
    requests = {}
    for label in ("renewed", "revoked", "again"):
        name, secret = registered(bench, label)
        key = ec.generate_private_key(ec.SECP256R1())
        row = deliver(bench, enroll(bench, name, secret, csr(name, key)))
        requests[label] = (name, secret, key)
        with bench.database.write() as session:
            domain = domains.find_domain(session, WHO, "home.example")
            if label == "renewed":
                bench.enrollment.by_certificate(session, domain, row.der, csr(name), NOW)
            elif label == "revoked":
                devices.revoke(session, WHO, name, "", NOW)
            else:
                _row, other = devices.issue_token(session, WHO, devices.find(session, WHO, name), NOW, 1)
                bench.enrollment.by_token(session, domain, name, other, csr(name), NOW)
    for name, secret, key in requests.values():
        with refused(Reason.UNAUTHENTICATED):
            enroll(bench, name, secret, csr(name, key))


def test_a_renewal_whose_answer_was_lost_is_answered_again(bench: Bench) -> None:
    name, secret = registered(bench)
    held = deliver(bench, enroll(bench, name, secret, csr(name)))
    new = ec.generate_private_key(ec.SECP256R1())

    def renew(key: ec.EllipticCurvePrivateKey, at: dt.datetime) -> Certificate:
        with bench.database.write() as session:
            domain = domains.find_domain(session, WHO, "home.example")
            return bench.enrollment.by_certificate(session, domain, held.der, csr(name, key), at)

    renewed = deliver(bench, renew(new, NOW))
    assert deliver(bench, renew(new, NOW)).id == renewed.id
    assert renew(ec.generate_private_key(ec.SECP256R1()), NOW).id != renewed.id
    # After the period, it is a new renewal.
    assert renew(new, NOW + REDELIVERY_PERIOD).id != renewed.id


def test_two_that_wait_for_one_certificate_both_get_it(bench: Bench) -> None:
    """A client repeats its request while the first one is still being answered."""
    name, secret = registered(bench)
    key = ec.generate_private_key(ec.SECP256R1())
    first, second = (enroll(bench, name, secret, csr(name, key)) for _ in range(2))
    later = NOW + dt.timedelta(seconds=1)
    assert deliver(bench, first).delivered_at == deliver(bench, second, later).delivered_at == NOW


def test_a_revocation_between_issue_and_delivery_wins(bench: Bench) -> None:
    name, secret = registered(bench)
    waiting = enroll(bench, name, secret, csr(name))
    with bench.database.write() as session:
        devices.revoke(session, WHO, name, "", NOW)
    with refused(Reason.CONFLICT), bench.database.write() as session:
        bench.enrollment.deliver(session, waiting.id, NOW)


def test_a_device_that_renews_in_a_loop_is_slowed_down(bench: Bench) -> None:
    name, secret = registered(bench)
    held = enroll(bench, name, secret, csr(name))
    with bench.database.write() as session:
        bench.enrollment.deliver(session, held.id, NOW)

    def renew(at: dt.datetime) -> None:
        with bench.database.write() as session:
            domain = domains.find_domain(session, WHO, "home.example")
            bench.enrollment.by_certificate(session, domain, held.der, csr(name), at)

    for _ in range(9):
        renew(NOW)
    with refused(Reason.RATE_LIMITED):
        renew(NOW)
    renew(NOW + dt.timedelta(hours=1))


def test_a_renewed_key_is_held_back_for_the_ttl(bench: Bench) -> None:
    """Resolvers may cache the old RRset that long (RFC 7671 section 8)."""
    name, secret = registered(bench)
    key = ec.generate_private_key(ec.SECP256R1())
    first = enroll(bench, name, secret, csr(name, key))
    assert bench.enrollment.seconds_until_ready(first, NOW) is None
    with bench.database.write() as session:
        outbox.confirm(session, outbox.due_updates(session, NOW), NOW)
        bench.enrollment.deliver(session, first.id, NOW)
        domain = domains.find_domain(session, WHO, "home.example")
        same = bench.enrollment.by_certificate(session, domain, first.der, csr(name, key), NOW)
        other = bench.enrollment.by_certificate(session, domain, first.der, csr(name), NOW)
        assert (same.status, same.hold_seconds, other.hold_seconds) == ("withdrawn", 0, 60)
        outbox.confirm(session, outbox.due_updates(session, NOW), NOW)
        session.refresh(other)
        assert bench.enrollment.seconds_until_ready(other, NOW) == 60
        assert bench.enrollment.seconds_until_ready(other, NOW + dt.timedelta(seconds=60)) == 0


def test_a_key_that_nobody_came_back_for_does_not_stay_published(bench: Bench) -> None:
    name, secret = registered(bench)
    first = enroll(bench, name, secret, csr(name))
    with bench.database.write() as session:
        _row, again = devices.issue_token(session, WHO, devices.find(session, WHO, name), NOW, 1)
    second = enroll(bench, name, again, csr(name))
    with bench.database.read() as session:
        (job,) = outbox.due_updates(session, NOW)
        assert session.get_one(Certificate, first.id).status == "withdrawn"
    assert job.desired == {f"3 1 1 {second.spki_sha256}"}


def test_moving_at_once_ends_the_old_name_and_its_tokens(bench: Bench) -> None:
    name, secret = registered(bench)
    enroll(bench, name, secret, csr(name))
    with bench.database.write() as session:
        domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name="b.example"), NOW)
        _row, open_token = devices.issue_token(session, WHO, devices.find(session, WHO, name), NOW, 1)
        moved = devices.rehome(session, WHO, name, "b.example", True, NOW)
        assert moved.name == "a.t._device.b.example"
        (job,) = outbox.due_updates(session, NOW)
        assert (job.name, job.desired, job.event) == (name, frozenset(), ChangeType.DEVICE_REHOMED)
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, name, open_token, csr(name))
    for target in ("b.example", "home.example"):
        with refused(Reason.CONFLICT), bench.database.write() as session:
            devices.rehome(session, WHO, name, target, False, NOW)


def test_a_restored_device_needs_a_certificate_that_is_still_good(bench: Bench) -> None:
    name, secret = registered(bench)
    enroll(bench, name, secret, csr(name))
    with bench.database.write() as session:
        devices.revoke(session, WHO, name, "", NOW)
        assert devices.restore(session, WHO, name, NOW).status == "active"
        devices.revoke(session, WHO, name, "", NOW)
        assert devices.restore(session, WHO, name, NOW + dt.timedelta(days=5000)).status == "registered"


def test_api_keys_are_refused_once_revoked_expired_or_wrong(bench: Bench) -> None:
    with bench.database.write() as session:
        _row, good = api_keys.issue_key(session, WHO, "good", frozenset({Scope.FEED_READ}), NOW)
        until = NOW + dt.timedelta(days=1)
        _row, brief = api_keys.issue_key(session, WHO, "brief", frozenset({Scope.FEED_READ}), NOW, expires_at=until)
    with bench.database.read() as session:
        assert api_keys.authenticate(session, good, NOW).scopes == {Scope.FEED_READ}
        assert api_keys.authenticate(session, brief, NOW)
        for presented, at in [
            (good[:-1] + ("A" if good[-1] != "A" else "B"), NOW),
            (good + "A", NOW),
            (good.replace("irk_", "irk-"), NOW),
            ("", NOW),
            (brief, until),
        ]:
            with refused(Reason.UNAUTHENTICATED):
                api_keys.authenticate(session, presented, at)
    with bench.database.write() as session:
        api_keys.revoke_key(session, WHO, good.split("_")[1], NOW)
    with bench.database.read() as session, refused(Reason.UNAUTHENTICATED):
        api_keys.authenticate(session, good, NOW)


def test_a_key_cannot_make_a_stronger_one(bench: Bench) -> None:
    with bench.database.write() as session:
        domain = session.scalars(select(Domain)).one()
        weak = Principal("key:weak", frozenset({Scope.KEY_WRITE, Scope.FEED_READ}), domain_id=domain.id)
        with refused(Reason.FORBIDDEN):
            api_keys.issue_key(session, weak, "x", frozenset({Scope.DEVICE_WRITE}), NOW, domain=domain)
        with refused(Reason.FORBIDDEN):
            api_keys.issue_key(session, weak, "x", frozenset({Scope.FEED_READ}), NOW)
        assert api_keys.issue_key(session, weak, "x", frozenset({Scope.FEED_READ}), NOW, domain=domain)


def test_a_new_domain_needs_the_roots_key(bench: Bench) -> None:
    with bench.database.read() as session:
        root = authorities.singleton(session, AuthorityKind.ROOT)
    path = bench.store.path(root.aki)
    offline = bench.settings.state_dir / "offline.key"
    path.rename(offline)
    with refused(Reason.UNAVAILABLE), bench.database.write() as session:
        domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name="b.example"), NOW)
    with bench.database.read() as session:
        assert [domain.name for domain in session.scalars(select(Domain))] == ["home.example"]
    away = ca_key_store.CaKeyStore(bench.settings, offline)
    with bench.database.write() as session:
        assert domains.create(session, WHO, away, bench.settings, DomainCreate(name="b.example"), NOW).id


def test_a_bundle_is_one_string_with_all_that_a_device_needs(bench: Bench) -> None:
    text_form = bundles.encode(bench.settings, "n", "home.example", "secret", NOW, "PEM\n")
    prefix, _, data = text_form.partition(".")
    content = json.loads(base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)))
    assert prefix == "iotreg1"
    assert content == {
        "name": "n",
        "token": "secret",
        "est": "https://127.0.0.1:8443/.well-known/est/home.example",
        "provisioning": "https://127.0.0.1:8443/v1/domains/home.example/provisioning",
        "ca": "PEM\n",
        "expires": "2026-11-21T12:00:00+00:00",
    }


def test_failures_are_counted_per_key_and_forgotten_after_a_minute() -> None:
    clock = [0.0]
    limit = FailureLimit(3, lambda: clock[0])
    for _ in range(3):
        limit.check("a")
        limit.add_failure("a")
    with refused(Reason.RATE_LIMITED):
        limit.check("a")
    limit.check("b")
    clock[0] = 61
    limit.check("a")
    for number in range(MAX_KEYS + 10):
        limit.add_failure(f"k{number}")
    assert len(limit._recent) == MAX_KEYS

"""Searching, the audit log of every change, and keys under passphrases, on a real database without processes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from sqlalchemy import select

from iot_registry.config import CaSection, RegistrySection, Settings
from iot_registry.errors import ConfigurationError, Reason
from iot_registry.service import access, authorities, devices, domains, invalidation, provision, status, succession
from iot_registry.service import keys as key_service
from iot_registry.service.access import Principal, Scope
from iot_registry.service.authorities import KeyStore
from iot_registry.service.registration import Registration
from iot_registry.service.schemas import DeviceCreate, DomainCreate, KeyCreate, Rehome
from iot_registry.store import migrate
from iot_registry.store.database import Database
from iot_registry.store.models import AuthorityKind, Domain
from tests.unit.iot_registry.conftest import NOW, WHO, Bench, csr
from tests.unit.iot_registry.test_services import deliver, enroll, refused, registered


def everything(bench: Bench, who: Principal = WHO, **criteria: str) -> list[str]:
    """All names that a search finds, three a page."""
    found: list[str] = []
    after: str | None = None
    while True:
        with bench.database.read() as session:
            page, after = devices.search(session, who, after=after, limit=3, **criteria)
        assert len(page) <= 3
        found += [view.name for view in page]
        if after is None:
            return found
        assert len(page) == 3


def test_a_search_finds_each_device_once_in_order(bench: Bench) -> None:
    with bench.database.write() as session:
        domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name="b.example"), NOW)
        for number in range(7):
            request = DeviceCreate(label=f"d{number}", type="lock" if number % 2 else "camera")
            devices.create(session, WHO, request, "home.example", NOW)
        devices.create(session, WHO, DeviceCreate(label="d1", type="lock", domain="b.example"), "home.example", NOW)
        devices.revoke(session, WHO, "d3.lock._device.home.example", "", NOW)
    everyone = everything(bench)
    assert everyone == sorted(everyone)
    assert len(everyone) == len(set(everyone)) == 8
    assert everything(bench, type_="lock", domain="home.example") == [
        f"d{number}.lock._device.home.example" for number in (1, 3, 5)
    ]
    assert everything(bench, status="revoked") == ["d3.lock._device.home.example"]
    assert everything(bench, text="D5.LOCK") == ["d5.lock._device.home.example"]
    # Not patterns: what the database would take for wildcards is text.
    assert everything(bench, text="%") == []
    assert everything(bench, text="d_.lock") == []
    assert everything(bench, text="._device.b.") == ["d1.lock._device.b.example"]
    with bench.database.read() as session:
        domain = session.scalars(select(Domain).where(Domain.name == "b.example")).one()
        exported = list(devices.export(session, WHO, None, NOW))
    confined = Principal("key:x", frozenset({Scope.DEVICE_READ}), domain.id)
    assert everything(bench, confined) == ["d1.lock._device.b.example"]
    with refused(Reason.NOT_FOUND):
        everything(bench, confined, domain="home.example")
    assert [entry["name"] for entry in exported] == everyone


def test_every_change_is_in_the_audit_log_with_who_and_when(bench: Bench) -> None:
    registration = Registration(bench.settings, "PEM")
    who = Principal("key:0123456789ab (ada)", frozenset({Scope.ADMIN}))
    later = NOW + dt.timedelta(minutes=1)
    with bench.database.write() as session:
        domains.create(session, who, bench.store, bench.settings, DomainCreate(name="b.example"), later)
        made = registration.create(session, who, DeviceCreate(label="x", type="t"), later)
        name = made.device.name
        registration.new_token(session, who, name, later)
        devices.revoke(session, who, name, "lost", later)
        devices.restore(session, who, name, later)
        # Neither changes anything, so neither is noted.
        devices.restore(session, who, name, later)
        registration.rehome(session, who, name, Rehome(domain="b.example"), later)
        created = key_service.create(session, who, KeyCreate(label="k", scopes=[Scope.FEED_READ]), later)
        access.revoke_key(session, who, created.key.id, later)
        access.revoke_key(session, who, created.key.id, later)
        succession.renew(session, who, bench.store, bench.settings, "b.example", later, force=True)
    invalidation.begin(bench.database, bench.store, bench.settings, who, "home.example", None, later)
    with bench.database.read() as session:
        entries, _following = status.audit_log(session, who)
    mine = [entry for entry in entries if entry.actor == who.actor]
    assert [(entry.action, entry.target) for entry in mine] == [
        ("domain.add", "b.example"),
        ("device.add", name),
        ("device.token", name),
        ("device.token", name),
        ("device.revoke", name),
        ("device.restore", name),
        ("device.add", "x.t._device.b.example"),
        ("device.rehome", name),
        ("device.token", "x.t._device.b.example"),
        ("key.add", created.key.id),
        ("key.revoke", created.key.id),
        ("ca.renew", "b.example"),
        ("rollover.begin", "home.example"),
    ]
    assert {entry.time for entry in mine} == {later}
    assert created.secret not in str(entries)
    assert made.bundle
    assert made.bundle not in str(entries)


def test_what_is_refused_is_not_in_the_audit_log(bench: Bench) -> None:
    name, secret = registered(bench)
    deliver(bench, enroll(bench, name, secret, csr(name)))
    with bench.database.read() as session:
        before, _following = status.audit_log(session, WHO)
    with refused(Reason.CONFLICT), bench.database.write() as session:
        devices.create(session, WHO, DeviceCreate(label="a", type="t"), "home.example", NOW)
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, name, secret, csr(name))
    with refused(Reason.NOT_FOUND), bench.database.write() as session:
        devices.rehome(session, WHO, name, "c.example", False, NOW)
    with bench.database.read() as session:
        assert status.audit_log(session, WHO)[0] == before


def test_the_cas_keys_stand_under_their_passphrases(tmp_path: Path) -> None:
    issuing, root, wrong = (tmp_path / name for name in ("issuing.pass", "root.pass", "wrong.pass"))
    issuing.write_text("one\n")
    root.write_text("two\n")
    wrong.write_text("three\n")

    def settings(**files: Path) -> Settings:
        return Settings(registry=RegistrySection(state_dir=tmp_path / "state"), ca=CaSection(**files))

    mine = settings(passphrase_file=issuing, root_passphrase_file=root)
    (tmp_path / "state").mkdir(mode=0o700)
    database = Database(mine.database_url)
    migrate.upgrade(database)
    provision.initialize(database, KeyStore(mine), mine, NOW)
    with database.read() as session:
        found = {row.kind: row for row in authorities.live_client_authorities(session)}
    for row in found.values():
        path = KeyStore(mine).path(row.aki)
        assert b"ENCRYPTED" in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
        KeyStore(mine).load(row)
    others = [
        (AuthorityKind.ISSUING, settings(root_passphrase_file=root), "none is configured"),
        (AuthorityKind.ROOT, settings(passphrase_file=issuing), "none is configured"),
        (AuthorityKind.ISSUING, settings(passphrase_file=wrong, root_passphrase_file=root), "passphrase is wrong"),
        (AuthorityKind.ROOT, settings(passphrase_file=issuing, root_passphrase_file=issuing), "passphrase is wrong"),
    ]
    for kind, other, message in others:
        with pytest.raises(ConfigurationError, match=message):
            KeyStore(other).load(found[kind])
    with pytest.raises(ConfigurationError, match="cannot read the passphrase"):
        KeyStore(settings(passphrase_file=tmp_path / "none"))
    database.close()

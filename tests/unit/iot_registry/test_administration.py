"""Searching, the audit log of every change, and encrypted keys, on a real database without daemons."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from sqlalchemy import select

from iot_registry.local.config import CaSection, RegistrySection, Settings
from iot_registry.service import (
    api_keys,
    audit,
    authorities,
    devices,
    domains,
    initialization,
    invalidation,
    succession,
)
from iot_registry.service import api_keys as key_service
from iot_registry.service.access import Principal, Scope
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.registration import Registration
from iot_registry.service.schemas import DeviceCreate, DomainCreate, KeyCreate, Rehome
from iot_registry.store import migrate
from iot_registry.store.models import AuthorityKind, Domain
from tests.unit.iot_registry.conftest import NOW, WHO, Bench, csr
from tests.unit.iot_registry.test_services import deliver, enroll, refused, registered
from web_service.core import ConfigurationError, Reason
from web_service.store import Database


def pages(bench: Bench, who: Principal = WHO, **criteria: str) -> list[list[str]]:
    """The names that a search finds, in pages of three."""
    found: list[list[str]] = []
    after: str | None = None
    while True:
        with bench.database.read() as session:
            page, after = devices.search(session, who, after=after, limit=3, **criteria)
        found.append([view.name for view in page])
        if after is None:
            return found


def everything(bench: Bench, who: Principal = WHO, **criteria: str) -> list[str]:
    """All names that a search finds."""
    return [name for page in pages(bench, who, **criteria) for name in page]


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
    assert [len(page) for page in pages(bench)] == [3, 3, 2]
    assert everything(bench, type_="lock", domain="home.example") == [
        f"d{number}.lock._device.home.example" for number in (1, 3, 5)
    ]
    assert everything(bench, status="revoked") == ["d3.lock._device.home.example"]
    assert everything(bench, text="D5.LOCK") == ["d5.lock._device.home.example"]
    # Wildcards of SQL are plain text in a search.
    assert everything(bench, text="%") == []
    assert everything(bench, text="d_.lock") == []
    assert everything(bench, text="._device.b.") == ["d1.lock._device.b.example"]
    with bench.database.read() as session:
        domain = session.scalars(select(Domain).where(Domain.name == "b.example")).one()
        exported = list(devices.export_all(session, WHO, None, NOW))
    confined = Principal("key:x", frozenset({Scope.DEVICE_READ}), domain_id=domain.id)
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
        # Changes nothing, and is not recorded.
        devices.restore(session, who, name, later)
        registration.rehome(session, who, name, Rehome(domain="b.example"), later)
        created = key_service.create(session, who, KeyCreate(label="k", scopes=[Scope.FEED_READ]), later)
        api_keys.revoke_key(session, who, created.key.id, later)
        api_keys.revoke_key(session, who, created.key.id, later)
        succession.renew(session, who, bench.store, bench.settings, "b.example", later, force=True)
    invalidation.begin(bench.database, bench.store, bench.settings, who, "home.example", None, later)
    with bench.database.read() as session:
        entries, _following = audit.page(session, who)
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
        before, _following = audit.page(session, WHO)
    with refused(Reason.CONFLICT), bench.database.write() as session:
        devices.create(session, WHO, DeviceCreate(label="a", type="t"), "home.example", NOW)
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, name, secret, csr(name))
    with refused(Reason.NOT_FOUND), bench.database.write() as session:
        devices.rehome(session, WHO, name, "c.example", False, NOW)
    with bench.database.read() as session:
        assert audit.page(session, WHO)[0] == before


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
    initialization.initialize(database, CaKeyStore(mine), mine, NOW)
    with database.read() as session:
        found = {row.kind: row for row in authorities.live_client_authorities(session)}
    for row in found.values():
        path = CaKeyStore(mine).path(row.aki)
        assert b"ENCRYPTED" in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
        CaKeyStore(mine).load(row)
    others = [
        (AuthorityKind.ISSUING, settings(root_passphrase_file=root), "no passphrase is configured"),
        (AuthorityKind.ROOT, settings(passphrase_file=issuing), "no passphrase is configured"),
        (AuthorityKind.ISSUING, settings(passphrase_file=wrong, root_passphrase_file=root), "passphrase is wrong"),
        (AuthorityKind.ROOT, settings(passphrase_file=issuing, root_passphrase_file=issuing), "passphrase is wrong"),
    ]
    for kind, other, message in others:
        with pytest.raises(ConfigurationError, match=message):
            CaKeyStore(other).load(found[kind])
    with pytest.raises(ConfigurationError, match="cannot read the passphrase"):
        CaKeyStore(settings(passphrase_file=tmp_path / "none"))
    database.close()

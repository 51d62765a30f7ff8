"""API keys: none makes a key with more scopes or a later expiry; each scope allows what it stands for."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import event, select

from iot_registry.cli import main
from iot_registry.service import api_keys, devices, domain_setup, domains
from iot_registry.service import api_keys as key_service
from iot_registry.service.access import Principal, Scope
from iot_registry.service.schemas import DomainCreate, KeyCreate
from iot_registry.store.models import ApiKey, Certificate, CertificateStatus
from tests.unit.iot_registry.conftest import NOW, WHO, Bench, csr
from tests.unit.iot_registry.test_services import deliver, enroll, refused, registered
from web_service.core import Reason

DAY = dt.timedelta(days=1)


def principal(bench: Bench, expires: dt.datetime | None, *scopes: Scope) -> Principal:
    """The principal of a new key with these scopes."""
    with bench.database.write() as session:
        _row, secret = api_keys.issue_key(session, WHO, "k", frozenset(scopes), NOW, expires_at=expires)
    with bench.database.read() as session:
        return api_keys.authenticate(session, secret, NOW)


def heir(bench: Bench, who: Principal, expires: dt.datetime | None) -> dt.datetime | None:
    """When a key expires that `who` makes."""
    with bench.database.write() as session:
        wanted = KeyCreate(label="heir", scopes=[Scope.FEED_READ], expires_at=expires)
        return key_service.create(session, who, wanted, NOW).key.expires_at


@pytest.mark.parametrize("scopes", [(Scope.KEY_WRITE, Scope.FEED_READ), (Scope.ADMIN,)])
def test_a_key_that_ends_makes_none_that_outlives_it(bench: Bench, scopes: tuple[Scope, ...]) -> None:
    who = principal(bench, NOW + DAY, *scopes)
    assert heir(bench, who, NOW + DAY) == NOW + DAY
    assert heir(bench, who, NOW + DAY / 2) == NOW + DAY / 2
    # Without an expiry, the new key gets that of its maker.
    assert heir(bench, who, None) == NOW + DAY
    for later in (NOW + DAY + dt.timedelta(seconds=1), NOW + 3650 * DAY):
        with refused(Reason.FORBIDDEN):
            heir(bench, who, later)
    # The same expiry in another time zone.
    elsewhere = dt.timezone(dt.timedelta(hours=-12))
    assert heir(bench, who, (NOW + DAY).astimezone(elsewhere)) == NOW + DAY
    with refused(Reason.FORBIDDEN):
        heir(bench, who, (NOW + 2 * DAY).astimezone(elsewhere))


def test_a_key_without_an_end_makes_any(bench: Bench) -> None:
    who = principal(bench, None, Scope.KEY_WRITE, Scope.FEED_READ)
    assert heir(bench, who, None) is None
    assert heir(bench, who, NOW + 3650 * DAY) == NOW + 3650 * DAY


def test_nor_by_way_of_a_new_domain_or_of_several_keys(bench: Bench) -> None:
    who = principal(bench, NOW + DAY, Scope.DOMAIN_WRITE)
    created = domain_setup.set_up_domain(
        bench.database, bench.store, bench.settings, None, who, DomainCreate(name="b.example"), NOW
    )
    with bench.database.read() as session:
        administrator = api_keys.authenticate(session, created.admin_key, NOW)
        assert administrator.expires_at == NOW + DAY
    with refused(Reason.UNAUTHENTICATED), bench.database.read() as session:
        api_keys.authenticate(session, created.admin_key, NOW + DAY)
    with refused(Reason.FORBIDDEN):
        heir(bench, administrator, NOW + 2 * DAY)
    assert heir(bench, administrator, None) == NOW + DAY


def test_domain_write_alone_adds_a_domain_and_nothing_else(bench: Bench) -> None:
    who = principal(bench, None, Scope.DOMAIN_WRITE)
    created = domain_setup.set_up_domain(
        bench.database, bench.store, bench.settings, None, who, DomainCreate(name="b.example"), NOW
    )
    with bench.database.read() as session:
        administrator = api_keys.authenticate(session, created.admin_key, NOW)
        domain = domains.find_domain(session, WHO, "b.example")
    assert (administrator.scopes, administrator.domain_id) == (domain_setup.DOMAIN_ADMIN_SCOPES, domain.id)
    with refused(Reason.FORBIDDEN):
        heir(bench, who, None)
    # The administrator's scopes are confined to the domain.
    with refused(Reason.FORBIDDEN):
        domain_setup.set_up_domain(
            bench.database, bench.store, bench.settings, None, administrator, DomainCreate(name="c.example"), NOW
        )
    with bench.database.read() as session:
        labels = list(session.scalars(select(ApiKey.label)))
    assert labels == ["k", "admin of b.example"]


def test_without_domain_write_no_domain(bench: Bench) -> None:
    others = frozenset(Scope) - {Scope.ADMIN, Scope.DOMAIN_WRITE}
    with refused(Reason.FORBIDDEN):
        domain_setup.set_up_domain(
            bench.database,
            bench.store,
            bench.settings,
            None,
            principal(bench, None, *others),
            DomainCreate(name="b.example"),
            NOW,
        )


def is_open(bench: Bench, name: str, secret: str, at: dt.datetime = NOW) -> bool:
    with bench.database.read() as session:
        return bench.enrollment.is_open(session, "home.example", name, secret, at)


def test_which_credentials_are_open(bench: Bench) -> None:
    name, secret = registered(bench)
    _other, foreign = registered(bench, "b")
    assert is_open(bench, name, secret)
    assert is_open(bench, name.upper() + ".", secret)
    wrong = [(name, foreign), (name, ""), (name, secret[:-1]), (name + "\0", secret), ("", ""), ("x" * 5000, secret)]
    assert not any(is_open(bench, *credentials) for credentials in wrong)
    assert not is_open(bench, name, secret, NOW + dt.timedelta(hours=1))
    with refused(Reason.NOT_FOUND), bench.database.read() as session:
        bench.enrollment.is_open(session, "none.example", name, secret, NOW)
    # A spent token is still open: the key in the request decides whether it gets the certificate.
    deliver(bench, enroll(bench, name, secret, csr(name)))
    assert is_open(bench, name, secret, NOW + dt.timedelta(days=2))
    with bench.database.write() as session:
        devices.revoke(session, WHO, name, "", NOW)
    assert not is_open(bench, name, secret)


def test_the_export_is_what_is_shown_of_each_device(bench: Bench) -> None:
    """A page of devices, and each device alone, give the same answers."""
    for label in ("a", "b", "c"):
        name, secret = registered(bench, label)
        if label != "c":
            deliver(bench, enroll(bench, name, secret, csr(name)))
    with bench.database.write() as session:
        devices.revoke(session, WHO, "b.t._device.home.example", "lost", NOW)
    with bench.database.read() as session:
        page, following = devices.export_page(session, WHO, None, None, NOW)
        assert following is None
        alone = [devices.detail(session, WHO, view.name, NOW) for view in page]
        assert page == alone
        assert list(devices.export_all(session, WHO, None, NOW)) == [view.model_dump(mode="json") for view in alone]
    assert [len(view.certificates) for view in page] == [1, 1, 0]
    assert page[2].token_expires_at == NOW + dt.timedelta(hours=1)
    assert page[0].token_expires_at is None


@contextmanager
def counted_statements(bench: Bench) -> Iterator[list[str]]:
    """The SQL statements that are executed within the block."""
    statements: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("SELECT"):
            statements.append(statement)

    event.listen(bench.database.engine, "before_cursor_execute", count)
    try:
        yield statements
    finally:
        event.remove(bench.database.engine, "before_cursor_execute", count)


def exported(bench: Bench) -> tuple[int, int]:
    """How many devices an export has, and how many statements it takes."""
    with counted_statements(bench) as statements, bench.database.read() as session:
        devices_of_page, following = devices.export_page(session, WHO, None, None, NOW)
    if following is not None:
        raise ValueError("the export has more than one page")
    return len(devices_of_page), len(statements)


def test_an_export_takes_the_same_number_of_statements_for_any_number_of_devices(bench: Bench) -> None:
    name, secret = registered(bench)
    deliver(bench, enroll(bench, name, secret, csr(name)))
    few = exported(bench)
    # More of everything that a device refers to: domains, certificates, tokens, former names, pending changes.
    with bench.database.write() as session:
        for number in range(5):
            domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name=f"d{number}.example"), NOW)
    for number in range(20):
        other, secret = registered(bench, f"n{number}")
        if number % 2:
            deliver(bench, enroll(bench, other, secret, csr(other)))
        with bench.database.write() as session:
            devices.rehome(session, WHO, other, f"d{number % 5}.example", False, NOW)
    many = exported(bench)
    assert (few[0], many[0]) == (1, 41)
    assert many[1] == few[1] > 0


def test_only_the_newest_certificates_are_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MAX_CERTIFICATES", 3)
    name, secret = registered(bench)
    first = deliver(bench, enroll(bench, name, secret, csr(name)))
    with bench.database.write() as session:
        for number in range(5):
            session.add(
                Certificate(
                    device_id=first.device_id,
                    authority_id=first.authority_id,
                    serial=f"{number:x}",
                    fingerprint=f"{number:064x}",
                    spki_sha256="0" * 64,
                    der=first.der,
                    status=CertificateStatus.WITHDRAWN,
                    issued_at=NOW,
                    not_after=NOW + DAY,
                )
            )
    with bench.database.read() as session:
        shown = devices.detail(session, WHO, name, NOW).certificates
    assert [view.serial for view in shown] == ["4", "3", "2"]


def test_secrets_go_to_files_of_their_own(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, [*arguments, "--state-dir", str(tmp_path / "state")])
        return done.exit_code, done.stdout, done.stderr

    assert run("init")[0] == 0
    made = {
        "key": ("key", "add", "k", "--scope", "feed:read"),
        "device": ("device", "add", "a", "--type", "t"),
        "token": ("token", "a.t._device.home.example"),
        "domain": ("domain", "add", "b.example"),
        "rehome": ("device", "rehome", "a.t._device.home.example", "b.example"),
    }
    for what, command in made.items():
        path = tmp_path / what
        code, out, err = run(*command, "--out", str(path))
        assert (code, out) == (0, ""), err
        secret = path.read_text().strip()
        assert secret.startswith(("irk_", "iotreg1."))
        assert secret not in err
        assert path.stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "key").read_text()
    code, _out, err = run(*made["key"], "--out", str(tmp_path / "key"))
    assert (code, "is there already" in err) == (2, True)
    assert (tmp_path / "key").read_text() == before
    assert run(*made["key"], "--out", str(tmp_path / "none" / "key"))[0] == 2
    assert run(*made["key"], "--out", str(tmp_path / "both"), "--json")[0] == 2
    # No key was made whose secret could not be written.
    listed = json.loads(run("key", "list", "--json")[1])["keys"]
    assert [key["label"] for key in listed] == ["k", "admin of b.example"]

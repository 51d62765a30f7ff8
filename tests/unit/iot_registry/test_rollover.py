"""An emergency rollover over devices in every state, begun, refused and interrupted, on a real database."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select

from iot_registry.publication import outbox
from iot_registry.publication.publisher import _left_names
from iot_registry.service import authorities, ca_key_store, devices, domains, invalidation, rollover
from iot_registry.service.access import Principal, Scope
from iot_registry.service.invalidation import RolloverStep, StartedRollover
from iot_registry.service.schemas import DeviceCreate, DomainCreate
from iot_registry.store.models import (
    AuditEntry,
    Authority,
    AuthorityKind,
    Certificate,
    CertificateStatus,
    Change,
    Device,
    Rollover,
)
from tests.unit.iot_registry.conftest import NOW, WHO, Bench, csr
from tests.unit.iot_registry.test_services import enroll, refused, registered
from web_service.core import Reason

LATER = NOW + dt.timedelta(minutes=10)


def publish(bench: Bench, at: dt.datetime = LATER) -> None:
    """Confirm every update in the outbox."""
    with bench.database.write() as session:
        outbox.confirm(session, outbox.due_updates(session, at), at)


def active(bench: Bench, label: str, key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """A device that has enrolled."""
    name, secret = registered(bench, label)
    row = enroll(bench, name, secret, csr(name, key))
    publish(bench)
    with bench.database.write() as session:
        bench.enrollment.deliver(session, row.id, NOW)
    return name


def begin(
    bench: Bench,
    file: Path | None,
    at: dt.datetime = LATER,
    store: ca_key_store.CaKeyStore | None = None,
    who: Principal = WHO,
) -> StartedRollover:
    return invalidation.begin(bench.database, store or bench.store, bench.settings, who, "home.example", file, at)


def run(bench: Bench, begun: StartedRollover, publisher: Callable[[], None] | None = None) -> dict[str, str]:
    """Carry out the rollover; returns the last bundle of each name."""
    file = begun.bundle_files[-1]
    step = publisher or (lambda: publish(bench))
    runner = rollover.RolloverRunner(bench.database, bench.store, bench.settings, None, "PEM", file, step)
    runner.run(begun.number)
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {line["name"]: line["bundle"] for line in lines}


def statuses(bench: Bench) -> dict[str, str]:
    with bench.database.read() as session:
        return {device.name: device.status for device in session.scalars(select(Device))}


def test_a_start_without_the_roots_key_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    active(bench, "a")
    with bench.database.read() as session:
        root = authorities.singleton(session, AuthorityKind.ROOT)
        audited = len(list(session.scalars(select(AuditEntry))))
        told = len(list(session.scalars(select(Change))))
    offline = tmp_path / "root.key"
    bench.store.path(root.aki).rename(offline)
    with refused(Reason.UNAVAILABLE):
        begin(bench, tmp_path / "b.jsonl")
    with bench.database.read() as session:
        assert session.scalars(select(Rollover)).all() == []
        assert len(list(session.scalars(select(Authority).where(Authority.kind == AuthorityKind.ISSUING)))) == 1
        assert len(list(session.scalars(select(AuditEntry)))) == audited
        assert len(list(session.scalars(select(Change)))) == told
        assert session.scalars(select(Certificate.status)).all() == [CertificateStatus.CURRENT]
    # A device that enrolls between the refusal and the successful start is included.
    late = active(bench, "late")
    begun = begin(bench, tmp_path / "b.jsonl", store=ca_key_store.CaKeyStore(bench.settings, offline))
    assert not begun.resumed
    assert set(run(bench, begun)) == {"a.t._device.home.example", late}


def test_only_an_administrator_of_all_domains_may_start_one(bench: Bench, tmp_path: Path) -> None:
    with refused(Reason.FORBIDDEN):
        begin(bench, tmp_path / "b", who=Principal("key:x", frozenset(Scope) - {Scope.ADMIN}))
    with bench.database.read() as session:
        assert session.scalars(select(Rollover)).all() == []


def test_each_device_gets_what_its_state_needs(bench: Bench, tmp_path: Path) -> None:
    with bench.database.write() as session:
        domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name="b.example"), NOW)
    enrolled = active(bench, "enrolled")
    waiting, waiting_token = registered(bench, "waiting")
    collecting, collecting_token = registered(bench, "collecting")
    uncollected = ec.generate_private_key(ec.SECP256R1())
    enroll(bench, collecting, collecting_token, csr(collecting, uncollected))
    revoked, moving, moved = active(bench, "revoked"), active(bench, "moving"), active(bench, "moved")
    moved_key = ec.generate_private_key(ec.SECP256R1())
    with bench.database.write() as session:
        devices.revoke(session, WHO, revoked, "stolen", NOW)
        devices.rehome(session, WHO, moving, "b.example", False, NOW)
        target = devices.rehome(session, WHO, moved, "b.example", False, NOW)
        _row, token = devices.issue_token(session, WHO, target, NOW, 1)
    with bench.database.write() as session:
        other = domains.find_domain(session, WHO, "b.example")
        row = bench.enrollment.by_token(session, other, target.name, token, csr(target.name, moved_key), NOW)
        bench.enrollment.deliver(session, row.id, NOW)

    bundles = run(bench, begin(bench, tmp_path / "bundles.jsonl"))

    # A device with a certificate under its new name has left; a revoked one gets no token.
    assert set(bundles) == {enrolled, waiting, collecting, moving}
    found = statuses(bench)
    assert {found[name] for name in bundles} == {"registered"}
    assert (found[revoked], found[moved], found[target.name]) == ("revoked", "rehomed", "active")
    for name, secret in ((waiting, waiting_token), (collecting, collecting_token)):
        with refused(Reason.UNAUTHENTICATED):
            enroll(bench, name, secret, csr(name), LATER)
    with refused(Reason.UNAUTHENTICATED):
        enroll(bench, collecting, collecting_token, csr(collecting, uncollected), LATER)
    with bench.database.read() as session:
        for device in session.scalars(select(Device).where(Device.name != target.name)):
            assert device.published == ""
    with bench.database.write() as session:
        # No earlier certificate makes it active again.
        assert devices.restore(session, WHO, revoked, LATER).status == "registered"


def test_a_device_that_was_moving_still_leaves_its_old_name(bench: Bench, tmp_path: Path) -> None:
    with bench.database.write() as session:
        domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name="b.example"), NOW)
    name = active(bench, "moving")
    with bench.database.write() as session:
        target = devices.rehome(session, WHO, name, "b.example", False, NOW)
        _row, token = devices.issue_token(session, WHO, target, NOW, 1)
    run(bench, begin(bench, tmp_path / "b"))
    with bench.database.write() as session:
        other = domains.find_domain(session, WHO, "b.example")
        row = bench.enrollment.by_token(session, other, target.name, token, csr(target.name), NOW)
        bench.enrollment.deliver(session, row.id, LATER)
    with bench.database.read() as session:
        assert [device.name for device in session.scalars(_left_names(LATER + dt.timedelta(hours=2)))] == [name]


def test_a_move_before_the_last_one_was_used_is_a_move_from_the_name_in_use(bench: Bench) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with bench.database.write() as session:
        for domain in ("b.example", "c.example"):
            domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name=domain), NOW)
    name = active(bench, "mover", key)
    with bench.database.write() as session:
        second = devices.rehome(session, WHO, name, "b.example", False, NOW)
        third = devices.rehome(session, WHO, second.name, "c.example", False, NOW)
        _row, token = devices.issue_token(session, WHO, third, NOW, 1)
        session.flush()
        # It may keep its key, which no other device has.
        row = bench.enrollment.by_token(session, third.domain, third.name, token, csr(third.name, key), NOW)
        bench.enrollment.deliver(session, row.id, NOW)
        session.flush()
        assert [device.name for device in session.scalars(_left_names(LATER + dt.timedelta(hours=2)))] == [name]
    assert statuses(bench)[second.name] == "rehomed"


class Killed(Exception):
    """Raised where the process is killed."""


def test_it_goes_on_after_an_end_at_any_step(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [active(bench, f"d{number}") for number in range(5)]
    monkeypatch.setattr(rollover, "TOKEN_BATCH", 2)

    def killed() -> None:
        raise Killed

    first = begin(bench, tmp_path / "one.jsonl")
    with pytest.raises(Killed):
        run(bench, first, killed)
    # A device that is added meanwhile has a valid token of its own.
    with bench.database.write() as session:
        moment = LATER + dt.timedelta(seconds=1)
        new = devices.create(session, WHO, DeviceCreate(label="new", type="t"), "home.example", moment)
        _row, good = devices.issue_token(session, WHO, new, moment, 1)

    written = rollover._append_private

    def torn(path: Path, lines: list[str]) -> None:
        written(path, lines)
        raise Killed

    second = begin(bench, None)
    assert (second.number, second.resumed, second.bundle_files) == (first.number, True, first.bundle_files)
    with monkeypatch.context() as context:
        context.setattr(rollover, "_append_private", torn)
        with pytest.raises(Killed):
            run(bench, second)
    # Written, but not committed: these bundles are invalid, and the next run makes others.
    stale = {json.loads(line)["bundle"] for line in (tmp_path / "one.jsonl").read_text().splitlines()}
    assert len(stale) == 2
    bundles = run(bench, begin(bench, None))
    assert set(bundles) == set(names)
    assert not stale & set(bundles.values())
    with bench.database.read() as session:
        progress = rollover.progress(session, WHO, "home.example")
    assert progress is not None
    assert (progress.step, progress.devices, progress.tokens) == (RolloverStep.DONE, 5, 5)
    assert enroll(bench, new.name, good, csr(new.name), moment).status == "pending"
    # After its end, a start makes another rollover.
    assert begin(bench, None, LATER + dt.timedelta(hours=1)).number != first.number


def test_bundles_are_for_nobody_else_to_read(bench: Bench, tmp_path: Path) -> None:
    active(bench, "a")
    file = tmp_path / "bundles"
    file.touch(0o644)
    run(bench, begin(bench, file))
    assert file.stat().st_mode & 0o777 == 0o600


def test_bundles_may_go_elsewhere_after_an_interruption(bench: Bench, tmp_path: Path) -> None:
    active(bench, "a")
    begin(bench, tmp_path / "one")
    again = begin(bench, tmp_path / "two")
    assert again.bundle_files == (tmp_path / "one", tmp_path / "two")
    run(bench, again)
    assert not (tmp_path / "one").exists()
    with bench.database.read() as session:
        progress = rollover.progress(session, WHO, "home.example")
    assert progress is not None
    assert progress.bundle_files == [str(tmp_path / "one"), str(tmp_path / "two")]


def test_withdrawal_waits_for_what_was_there_only(bench: Bench, tmp_path: Path) -> None:
    """The outbox of a registry that is in use is never empty."""
    active(bench, "a")
    rounds = 0

    def busy() -> None:
        nonlocal rounds
        rounds += 1
        moment = LATER + dt.timedelta(seconds=rounds)
        publish(bench, moment)
        with bench.database.write() as session:
            device = devices.create(session, WHO, DeviceCreate(label=f"n{rounds}", type="t"), "home.example", moment)
            _row, token = devices.issue_token(session, WHO, device, moment, 1)
            session.flush()
            bench.enrollment.by_token(session, device.domain, device.name, token, csr(device.name), moment)
        assert rounds < 5

    assert set(run(bench, begin(bench, tmp_path / "b"), busy)) == {"a.t._device.home.example"}
    assert rounds == 1


def test_all_domains_of_a_zone_hear_of_its_new_keys(bench: Bench, tmp_path: Path) -> None:
    with bench.database.write() as session:
        request = DomainCreate(name="flat.home.example", zone="home.example")
        domains.create(session, WHO, bench.store, bench.settings, request, NOW)
        domains.create(session, WHO, bench.store, bench.settings, DomainCreate(name="b.example"), NOW)
    run(bench, begin(bench, tmp_path / "b"))
    with bench.database.read() as session:
        told = [change.domain_id for change in session.scalars(select(Change).where(Change.type == "rollover"))]
        by_name = {view.name: view for view in domains.view_all(session, WHO)}
    assert sorted(told) == [1, 2]
    assert set(by_name) == {"home.example", "flat.home.example", "b.example"}


def test_one_command_at_a_time_carries_a_rollover_out(tmp_path: Path) -> None:
    with rollover.exclusive(tmp_path), refused(Reason.CONFLICT), rollover.exclusive(tmp_path):
        pass
    with rollover.exclusive(tmp_path):
        pass
    with pytest.raises(BlockingIOError), rollover.exclusive(tmp_path):
        # A BlockingIOError of the block itself is not taken for a held lock.
        raise BlockingIOError

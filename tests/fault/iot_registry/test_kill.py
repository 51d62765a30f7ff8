"""kill -9 of the registry and of Knot during publication, repeatedly: no change is lost, no old record returns."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select

from iot_registry.local import config
from iot_registry.service import bulk_import, devices
from iot_registry.service.access import Principal, local_principal
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.store.models import AuditEntry, Authority, Change, Device, DeviceStatus, OutboxEntry, Rollover
from tests.harness.process import wait_for
from tests.integration.iot_registry.parts import COMMAND, PostgreSQL, Registry, csr_text
from web_service.store import Database

pytestmark = pytest.mark.daemons

ROUNDS = 8
PER_ROUND = 20
WHO: Principal = local_principal("test")
# The databases that operators have open, for `running` to close.
OPEN: list[Database] = []


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Operator:
    """Works on the registry's database as the commands do, but in this process, which is faster."""

    def __init__(self, registry: Registry, seed: int) -> None:
        self.settings = config.load(registry.config)
        self.database = Database(self.settings.database_url)
        self.store = CaKeyStore(self.settings)
        self.random = random.Random(seed)
        self.names: list[str] = []
        OPEN.append(self.database)

    def enroll(self, round_number: int) -> None:
        entries = []
        for number in range(PER_ROUND):
            label = f"r{round_number}n{number}"
            name = f"{label}.camera._device.home.example"
            self.names.append(name)
            fields = {"label": label, "type": "camera", "csr": csr_text(name)}
            entries.append({"line": number, "data": fields})
        results = bulk_import.run(self.database, self.store, self.settings, WHO, entries, now())
        if not all("certificate" in result for result in results):
            raise RuntimeError(f"not every device was registered: {results}")

    def disturb(self) -> None:
        """Revoke and restore some, each in a transaction of its own."""
        for name in self.random.sample(self.names, min(len(self.names), PER_ROUND)):
            with self.database.write() as session:
                if self.random.random() < 0.6:
                    devices.revoke(session, WHO, name, "", now())
                else:
                    devices.restore(session, WHO, name, now())

    def settled(self) -> bool:
        with self.database.read() as session:
            return session.scalars(select(OutboxEntry.id).limit(1)).first() is None

    def expected(self) -> dict[str, set[str]]:
        """The records that the DNS must serve, derived without the registry's outbox."""
        with self.database.read() as session:
            found = {}
            for device in session.scalars(select(Device)):
                view = devices.detail(session, WHO, device.name, now())
                digests = {_spki_sha256(certificate.pem) for certificate in view.certificates}
                active = device.status == DeviceStatus.ACTIVE
                found[device.name] = {f"3 1 1 {digest}" for digest in digests} if active else set()
            return found

    def done(self) -> Counter[str]:
        """How often each device got a certificate, was revoked or restored, according to the audit log."""
        actions = ("certificate.issue", "device.revoke", "device.restore")
        with self.database.read() as session:
            return Counter(session.scalars(select(AuditEntry.target).where(AuditEntry.action.in_(actions))))

    def changes(self) -> list[Change]:
        with self.database.read() as session:
            return list(session.scalars(select(Change).order_by(Change.seq)))


def _spki_sha256(pem: str) -> str:
    public = x509.load_pem_x509_certificate(pem.encode()).public_key()
    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


@contextmanager
def running(tmp_path: Path, backend: str = "sqlite") -> Iterator[Registry]:
    options = {"publication": {"timeout_seconds": 2}}
    with ExitStack() as stack:
        url = stack.enter_context(PostgreSQL()).url if backend == "postgresql" else None
        stack.callback(lambda: [OPEN.pop().close() for _ in range(len(OPEN))])
        yield stack.enter_context(Registry(tmp_path / "registry", url, options).running())


def disagreements(registry: Registry, operator: Operator) -> list[str]:
    """Where the DNS differs from the database, or the feed does not have each change once, in order."""
    wait_for(operator.settled, "the outbox to empty", timeout=60)
    expected = operator.expected()
    wrong = {
        name: registry.knot.tlsa(name) for name, records in expected.items() if registry.knot.tlsa(name) != records
    }
    found = [f"{name}: found {records}, expected {expected[name]}" for name, records in wrong.items()]
    changes = operator.changes()
    if [change.seq for change in changes] != list(range(1, len(changes) + 1)):
        found.append("the feed has gaps, or is out of order")
    last = {change.name: change.type for change in changes if change.name}
    for name, records in expected.items():
        if (last[name] == "device.revoked") != (not records):
            found.append(f"{name}: the last event is {last[name]}, but the records are {records}")
    # At most one event for each action: none was published twice.
    told = Counter(change.name for change in changes if change.name)
    done = operator.done()
    found += [f"{name}: {count} events for {done[name]} actions" for name, count in told.items() if count > done[name]]
    return found


@pytest.mark.parametrize(("backend", "rounds"), [("sqlite", ROUNDS), ("postgresql", ROUNDS // 2)])
def test_killing_the_registry_loses_nothing(tmp_path: Path, backend: str, rounds: int) -> None:
    with running(tmp_path, backend) as registry:
        operator = Operator(registry, seed=4)
        interrupted = 0
        for number in range(rounds):
            operator.enroll(number)
            operator.disturb()
            # The kill comes at a random moment of the publication, which takes about that long.
            time.sleep(operator.random.uniform(0, 0.04))
            assert registry.daemon
            registry.daemon.kill()
            interrupted += not operator.settled()
            registry.start()
        assert disagreements(registry, operator) == []
        print(f"{rounds} kills of the registry, {interrupted} in mid-publication, {len(operator.names)} devices")
        assert interrupted > 0


def test_killing_knot_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as registry:
        operator = Operator(registry, seed=5)
        interrupted = 0
        for number in range(ROUNDS):
            operator.enroll(number)
            operator.disturb()
            time.sleep(operator.random.uniform(0, 0.15))
            assert registry.knot.daemon
            registry.knot.daemon.kill()
            interrupted += not operator.settled()
            operator.disturb()
            registry.knot.start()
        assert disagreements(registry, operator) == []
        print(f"{ROUNDS} kills of Knot, {interrupted} in mid-publication, {len(operator.names)} devices")
        assert interrupted > 0


def test_killing_both_at_once_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as registry:
        operator = Operator(registry, seed=6)
        for number in range(3):
            operator.enroll(number)
            operator.disturb()
            assert registry.daemon
            assert registry.knot.daemon
            registry.knot.daemon.kill()
            registry.daemon.kill()
            registry.knot.start()
            registry.start()
        assert disagreements(registry, operator) == []


def test_a_zone_that_lost_its_changes_is_repaired_and_strangers_are_removed(tmp_path: Path) -> None:
    """Knot restarts without its journal, as from a restored disk, with a record in its zone that no device has."""
    with running(tmp_path) as registry:
        operator = Operator(registry, seed=7)
        operator.enroll(0)
        assert disagreements(registry, operator) == []
        with operator.database.write() as session:
            devices.revoke(session, WHO, operator.names[0], "", now())
        assert disagreements(registry, operator) == []
        registry.stop()
        registry.knot.stop()
        stranger = "stranger.camera._device.home.example"
        stale = "".join(f"{name}. 60 TLSA 3 1 1 {'ab' * 32}\n" for name in (operator.names[0], stranger))
        zone = registry.folder / "dns" / "zones" / "home.example.zone"
        zone.write_text(zone.read_text().replace(" 1 3600", " 4000000 3600") + stale)
        for path in (registry.folder / "dns" / "db" / "journal").iterdir():
            path.unlink()
        registry.knot.start()
        assert registry.knot.tlsa(stranger)
        assert registry.knot.tlsa(operator.names[1]) == set()
        registry.start()
        wait_for(lambda: not registry.knot.tlsa(stranger), "the stranger to go")
        wait_for(lambda: not registry.knot.tlsa(operator.names[0]), "the revoked device's record to go again")
        wait_for(lambda: registry.knot.tlsa(operator.names[-1]), "a lost record to come back")
        wait_for(operator.settled, "the outbox to empty")
        for name, records in operator.expected().items():
            assert registry.knot.tlsa(name) == records


def test_a_rollover_that_is_killed_over_and_over_is_one_rollover(tmp_path: Path) -> None:
    with running(tmp_path) as registry:
        operator = Operator(registry, seed=9)
        for number in range(5):
            operator.enroll(number)
        assert disagreements(registry, operator) == []
        bundles = tmp_path / "bundles.jsonl"
        command = [str(COMMAND), "rollover", "start", "home.example", "--yes", "--bundles", str(bundles), "--json"]
        command += ["--config", str(registry.config)]
        steps = []
        for kill in range(20):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5 + 0.05 * kill)
            process.kill()
            process.wait()
            status = registry.run("rollover", "status", "home.example", "--json", check=False)
            steps.append(json.loads(status.stdout)["step"] if status.returncode == 0 else "none")
            if steps[-1] == "done":
                break
        else:
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        print(f"killed at {', '.join(steps)}")
        with operator.database.read() as session:
            assert len(list(session.scalars(select(Rollover)))) == 1
            issuing = list(session.scalars(select(Authority.generation).where(Authority.kind == "issuing")))
        assert sorted(issuing) == [1, 2]
        assert len(registry.knot.ask("home.example", "DNSKEY").answer[0]) == 2
        for name in operator.names:
            assert registry.knot.tlsa(name) == set()
        fresh = {entry["name"]: entry["bundle"] for entry in map(json.loads, bundles.read_text().splitlines())}
        assert set(fresh) == set(operator.names)
        for name in operator.random.sample(operator.names, 5):
            assert registry.enroll(fresh[name], csr_text(name).encode()).status == 200


def test_one_refused_name_does_not_hold_its_neighbours_up(tmp_path: Path) -> None:
    """A domain whose zone the name server does not have does not delay the others."""
    with running(tmp_path) as registry:
        operator = Operator(registry, seed=8)
        registry.run("domain", "add", "else.homes.example", "--zone", "homes.example")
        block = registry.folder / "dns" / "zones" / "homes.example.conf"
        block.unlink()
        registry.knot.stop()
        registry.knot.start()
        name = "x.camera._device.else.homes.example"
        fields = {"label": "x", "type": "camera", "domain": "else.homes.example", "csr": csr_text(name)}
        bulk_import.run(operator.database, operator.store, operator.settings, WHO, [{"line": 1, "data": fields}], now())
        operator.enroll(0)
        wait_for(lambda: registry.knot.tlsa(operator.names[-1]), "the good zone's records")
        wait_for(lambda: registry.json("status")["outbox_last_error"], "the other zone's error to show")
        assert registry.json("status")["outbox_pending"] == 1
        error = registry.json("status")["outbox_last_error"]
        assert "update of homes.example" in error
        assert "does the server have this zone and this key?" in error

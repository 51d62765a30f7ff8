"""Emergency rollover: new DNSSEC keys and issuing CA, all certificates invalid, enrollment with new tokens."""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import select, text

from iot_registry.local.config import RegistrySection, Settings
from iot_registry.service import devices, initialization, invalidation
from iot_registry.service.access import local_principal
from iot_registry.service.ca_key_store import CaKeyStore
from iot_registry.service.enrollment import Enrollment
from iot_registry.service.schemas import DeviceCreate
from iot_registry.signer.knot import KnotSigner
from iot_registry.store import migrate
from iot_registry.store.models import Certificate, Device
from tests.harness.process import wait_for
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.parts import COMMAND, DeviceKey, PostgreSQL, Registry, csr_text
from tests.integration.iot_registry.test_life import reenroll
from web_service.store import Database


def keys_of(registry: Registry) -> set[str]:
    answer = registry.knot.ask("home.example", "DNSKEY").answer[0]
    return {rdata.to_text() for rdata in answer}


def test_everything_is_new_and_the_old_is_worth_nothing(fresh_registry: Registry, tmp_path: Path) -> None:
    registry = fresh_registry
    enrolled = {}
    for label in ("one", "two", "three"):
        key = DeviceKey.make(tmp_path, label)
        name, bundle = registry.add(label)
        enrolled[name] = (key, registry.enroll(bundle, key.csr(name)).certificates()[0])
    _waiting, waiting_bundle = registry.add("waiting")
    revoked, _ = registry.add("bad")
    registry.revoke(revoked)
    feed = registry.key("feed:read")
    since = registry.api("GET", "/v1/snapshot", feed).json["seq"]
    old_keys = keys_of(registry)
    old_ca = registry.curl("/v1/domains/home.example/provisioning").json["issuing_ca"]
    key_files = set((registry.state / "ca").iterdir())
    bundles = tmp_path / "bundles.jsonl"

    done = registry.json("rollover", "start", "home.example", "--yes", "--bundles", str(bundles))

    assert (done["step"], done["enrolled"]) == ("done", 0)
    assert keys_of(registry).isdisjoint(old_keys)
    assert len(keys_of(registry)) == 2
    provisioning = registry.curl("/v1/domains/home.example/provisioning").json
    new_ca = provisioning["issuing_ca"]
    assert new_ca != old_ca
    # The old CA's key is deleted.
    assert len(key_files - set((registry.state / "ca").iterdir())) == 1
    for name, (key, certificate) in enrolled.items():
        assert registry.knot.tlsa(name) == set()
        assert reenroll(registry, name, certificate, key, key).status == 401
    assert registry.enroll(waiting_bundle, DeviceKey.make(tmp_path, "w").csr(_waiting)).status == 401
    changes = registry.api("GET", f"/v1/changes?since={since}", feed).json["changes"]
    kinds = [change["type"] for change in changes]
    assert kinds[:2] == ["anchor.added", "anchor.removed"]
    assert kinds[-1] == "rollover"
    assert kinds.count("device.changed") == len(enrolled)
    assert changes[0]["anchor"]["pem"] == new_ca
    assert changes[1]["anchor"]["pem"] == old_ca

    assert bundles.stat().st_mode & 0o777 == 0o600
    fresh = {entry["name"]: entry["bundle"] for entry in map(json.loads, bundles.read_text().splitlines())}
    assert set(enrolled) | {_waiting} <= set(fresh)
    assert revoked not in fresh
    for name, (key, _certificate) in enrolled.items():
        answer = registry.enroll(fresh[name], key.csr(name))
        assert answer.status == 200, answer.body
        answer.certificates()[0].verify_directly_issued_by(x509.load_pem_x509_certificate(new_ca.encode()))
        assert registry.knot.tlsa(name) == {f"3 1 1 {key.spki_sha256()}"}
    status = registry.json("rollover", "status", "home.example")
    assert status["enrolled"] == len(enrolled)

    # The printed DS is the trust anchor under which a validator accepts the zone as it is now.
    (ds,) = done["ds"]
    name = next(iter(enrolled))
    stubs = {"home.example": ("127.0.0.1", registry.dns_port)}
    with Unbound(tmp_path / "unbound", stubs, ds.replace(" DS ", " IN DS ")) as resolver:
        answer = resolver.query(name)
        assert (answer.rcode(), bool(answer.flags & 0x20), len(answer.answer)) == (0, True, 1)


@pytest.mark.parametrize("fresh_registry", ["sqlite"], indirect=True)
def test_an_interrupted_rollover_goes_on_where_it_was(fresh_registry: Registry, tmp_path: Path) -> None:
    registry = fresh_registry
    names = {}
    for number in range(3):
        key = DeviceKey.make(tmp_path, f"d{number}")
        name, bundle = registry.add(f"d{number}")
        assert registry.enroll(bundle, key.csr(name)).status == 200
        names[name] = key
    old_keys = keys_of(registry)
    bundles = tmp_path / "bundles.jsonl"
    command = [str(COMMAND), "rollover", "start", "home.example", "--yes", "--bundles", str(bundles), "--json"]
    command += ["--config", str(registry.config)]
    # With the name server stopped, it cannot complete the withdrawal: it is killed there.
    registry.knot.stop()
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: _step(registry) == "withdraw", "the rollover to wait for the DNS", timeout=30)
    first.kill()
    first.wait(10)
    assert not bundles.exists()
    registry.knot.start()
    done = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout)
    assert done["step"] == "done"
    assert keys_of(registry).isdisjoint(old_keys)
    fresh = {entry["name"]: entry["bundle"] for entry in map(json.loads, bundles.read_text().splitlines())}
    for name, key in names.items():
        assert registry.enroll(fresh[name], key.csr(name)).status == 200
    # One rollover, not two: a second one would have made CA 3.
    subjects = {ca.subject.rfc4514_string() for ca in registry.curl("/.well-known/est/cacerts").certificates()}
    assert "CN=Device CA 2 of home.example" in subjects


def test_a_set_of_keys_that_was_half_made_is_completed(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry").prepare()
    signer = KnotSigner(registry.knot.config, registry.folder / "dns" / "zones", "127.0.0.1")
    command = ["keymgr", "-c", str(registry.knot.config), "home.example.", "generate", "algorithm=ECDSAP256SHA256"]

    def generate(ksk: str, zsk: str) -> str:
        now = ("created=+0", "publish=+0", "ready=+0", "active=+0")
        done = subprocess.run([*command, f"ksk={ksk}", f"zsk={zsk}", *now], capture_output=True, check=True, text=True)
        return done.stdout.split()[-1]

    old = {generate("yes", "no"), generate("no", "yes")}
    # Interrupted after one key of two.
    half = generate("yes", "no")
    for _again in range(2):
        signer.generate_keys("home.example", old)
        made = set(signer.present_keys("home.example")) - old
        assert half in made
        assert len(made) == 2
    listed = subprocess.run([*command[:4], "list"], capture_output=True, check=True, text=True).stdout
    roles = {line.split()[0]: line.split()[2] for line in listed.splitlines()}
    assert sorted(roles[key] for key in made) == ["KSK", "ZSK"]
    # A zone with one key for both roles gets such a key again.
    signer.remove_keys("home.example", list(roles))
    combined = generate("yes", "yes")
    signer.generate_keys("home.example", {combined})
    assert len(set(signer.present_keys("home.example")) - {combined}) == 1


def test_an_enrollment_under_way_cannot_slip_through(tmp_path: Path) -> None:
    """PostgreSQL lets both transactions run: the rollover must wait for the enrollment, and then undo it."""
    who, now = local_principal("test"), dt.datetime.now(dt.UTC)
    settings = Settings(registry=RegistrySection(state_dir=tmp_path))
    with PostgreSQL() as postgresql:
        database = Database(postgresql.url)
        migrate.upgrade(database)
        store = CaKeyStore(settings)
        initialization.initialize(database, store, settings, now)
        with database.write() as session:
            device = devices.create(session, who, DeviceCreate(label="a", type="t"), "home.example", now)
            _row, secret = devices.issue_token(session, who, device, now, 1)

        def begin() -> None:
            invalidation.begin(database, store, settings, who, "home.example", None, dt.datetime.now(dt.UTC))

        rollover = threading.Thread(target=begin)
        try:
            with database.write() as session:
                row = session.get_one(Device, device.id)
                request = base64.b64decode(csr_text(device.name))
                Enrollment(settings, store).by_token(session, row.domain, device.name, secret, request, now)
                rollover.start()
                wait_for(lambda: _waits_for_a_lock(database), "the rollover to wait for the enrollment")
            rollover.join(30)
            with database.read() as session:
                assert session.scalars(select(Device.status)).all() == ["registered"]
                assert session.scalars(select(Certificate.status)).all() == ["withdrawn"]
        finally:
            database.close()


def _waits_for_a_lock(database: Database) -> bool:
    with database.read() as session:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(session.execute(text(waiting)).scalar())


def _step(registry: Registry) -> str:
    done = registry.run("rollover", "status", "home.example", "--json", check=False)
    return str(json.loads(done.stdout)["step"]) if done.returncode == 0 else ""

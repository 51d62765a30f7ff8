"""The device with the registry, Knot and Unbound, over a connection that breaks."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from iot_safe_sim.card import Card
from iot_safe_sim.device import (
    BrokenError,
    Bundle,
    BundleError,
    Enrollment,
    Outcome,
    RefusedError,
    Resolver,
    TlsaState,
    TlsaWait,
    est,
    read_certificate,
)
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.harness.process import free_port, wait_for
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.parts import Registry
from tests.integration.iot_safe_sim.breaking_connection import BreakingConnection
from tests.integration.iot_safe_sim.support import command, identity_faults


@dataclass
class World:
    """A registry behind a `BreakingConnection`, and a resolver that validates its zone."""

    registry: Registry
    connection: BreakingConnection
    resolver: Unbound

    def bundle(self, label: str) -> Bundle:
        _name, text = self.registry.add(label)
        return Bundle.parse(text)

    def wait(self) -> TlsaWait:
        return TlsaWait(Resolver("127.0.0.1", self.resolver.port), 20)

    def told(self, name: str) -> list[str]:
        """The certificates of a device in the registry's audit log."""
        audit = self.registry.api("GET", "/v1/audit?limit=1000", self.registry.admin).json["entries"]
        return [e["action"] for e in audit if e["target"] == name and e["action"].startswith("certificate.")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, port = tmp_path_factory.mktemp("world"), free_port()
    options: dict[str, dict[str, Any]] = {
        "registry": {"public_url": f"https://localhost:{port}"},
        "enrollment": {"reenroll_delay": "published"},
    }
    with (
        Registry(folder / "registry", options=options).running() as registry,
        BreakingConnection(registry, port) as connection,
    ):
        keymgr = ["keymgr", "-c", str(registry.knot.config), "home.example.", "ds"]
        ds = subprocess.run(keymgr, capture_output=True, text=True, check=True).stdout.replace(" DS ", " IN DS ")
        stubs = {"home.example": ("127.0.0.1", registry.dns_port)}
        with Unbound(folder / "unbound", stubs, ds) as resolver:
            yield World(registry, connection, resolver)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[IoTSafeClient]:
    with Card(tmp_path / "card", key_store="software") as opened:
        yield IoTSafeClient(MemoryTransport(opened.applet))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(est, "BROKEN_PAUSES", (0.05, 0.05))


def test_the_command_enrolls_renews_and_ends_with_a_validated_record(world: World, tmp_path: Path) -> None:
    bundle = world.bundle("command")
    state = ("--state", tmp_path / "state")
    resolver = ("--resolver", f"127.0.0.1:{world.resolver.port}", "--json")
    done = command("enroll", *state, "--key-store", "softhsm", "--bundle", "-", *resolver, stdin=bundle.encode())
    assert (done.returncode, json.loads(done.stdout)["tlsa"]) == (0, "vouched"), done.stderr
    with Card(tmp_path / "state") as opened:
        client = IoTSafeClient(MemoryTransport(opened.applet))
        assert identity_faults(client, bundle.name) == []
        certificate = read_certificate(client)
        assert certificate is not None
        assert (
            world.registry.device(bundle.name)["certificates"][0]["fingerprint"]
            == certificate.fingerprint(SHA256()).hex()
        )
    done = command("enroll", *state, "--renew", "--new-key", *resolver)
    assert (done.returncode, json.loads(done.stdout)["tlsa"]) == (0, "vouched"), done.stderr
    world.registry.revoke(bundle.name)
    done = command("enroll", *state, "--renew", *resolver)
    assert (done.returncode, "the registry answers 401" in done.stderr) == (1, True), done.stderr


def test_a_lost_answer_is_asked_for_again(world: World, card: IoTSafeClient) -> None:
    bundle = world.bundle("lost")
    steps: list[str] = []
    world.connection.cuts, before = 1, world.connection.lost
    enrollment = Enrollment(card, world.wait(), progress=lambda step, text: steps.append(text))
    assert enrollment.enroll(bundle).tlsa is TlsaState.VOUCHED
    assert world.connection.lost == before + 1
    assert any(step.startswith("connection lost; asking again") for step in steps)
    assert world.told(bundle.name) == ["certificate.issue", "certificate.again"]
    assert identity_faults(card, bundle.name) == []


def test_the_next_run_continues_one_whose_responses_were_lost(world: World, card: IoTSafeClient) -> None:
    bundle = world.bundle("given-up")
    world.connection.cuts = 3
    with pytest.raises(BrokenError):
        Enrollment(card).enroll(bundle)
    assert world.connection.cuts == 0
    assert card.read_file(containers.CLIENT_CERTIFICATE) == b""
    # The token has expired by now, but it was used in time.
    late = bundle.model_copy(update={"expires": datetime.now(UTC) - timedelta(seconds=1)})
    assert Enrollment(card, world.wait()).enroll(late).tlsa is TlsaState.VOUCHED
    assert world.told(bundle.name)[0] == "certificate.issue"
    assert set(world.told(bundle.name)[1:]) == {"certificate.again"}
    assert len(world.registry.device(bundle.name)["certificates"]) == 1
    assert identity_faults(card, bundle.name) == []


def test_another_card_with_the_same_bundle_gets_nothing(world: World, card: IoTSafeClient, tmp_path: Path) -> None:
    bundle = world.bundle("stolen")
    world.connection.cuts = 3
    with pytest.raises(BrokenError):
        Enrollment(card).enroll(bundle)
    with Card(tmp_path / "thief", key_store="software") as opened, pytest.raises(RefusedError, match="answers 401"):
        Enrollment(IoTSafeClient(MemoryTransport(opened.applet))).enroll(bundle)
    late = bundle.model_copy(update={"expires": datetime.now(UTC) - timedelta(seconds=1)})
    with Card(tmp_path / "late", key_store="software") as opened, pytest.raises(BundleError, match="expired"):
        Enrollment(IoTSafeClient(MemoryTransport(opened.applet))).enroll(late)
    assert Enrollment(card, world.wait()).enroll(bundle).tlsa is TlsaState.VOUCHED


@pytest.mark.parametrize("new_key", [False, True])
def test_a_lost_answer_to_a_renewal(world: World, card: IoTSafeClient, new_key: bool) -> None:
    bundle = world.bundle(f"renewal-{new_key}".lower())
    Enrollment(card, world.wait()).enroll(bundle)
    world.connection.cuts, world.connection.certificates = 3, True
    try:
        with pytest.raises(BrokenError):
            Enrollment(card, world.wait()).renew(new_key=new_key)
    finally:
        world.connection.certificates = False
    assert world.connection.cuts == 0
    result = Enrollment(card, world.wait()).renew(new_key=new_key)
    assert (result.outcome, result.tlsa) == (Outcome.RENEWED, TlsaState.VOUCHED)
    # The same key gets the same certificate again, however often the response was lost.
    assert world.told(bundle.name) == ["certificate.issue"] * 2 + ["certificate.again"] * 3
    assert identity_faults(card, bundle.name) == []


def test_the_successor_of_a_ca_excludes_no_device(world: World, card: IoTSafeClient) -> None:
    bundle = world.bundle("successor")
    Enrollment(card, world.wait()).enroll(bundle)
    world.registry.run("ca", "renew", "home.example", "--force")
    steps: list[str] = []
    again = Enrollment(card, world.wait(), progress=lambda step, text: steps.append(text)).enroll(bundle)
    assert (again.outcome, again.tlsa) == (Outcome.ALREADY_ENROLLED, TlsaState.VOUCHED)
    assert any("has a successor" in step for step in steps)
    assert identity_faults(card, bundle.name) == []
    before = read_certificate(card)
    assert before is not None
    assert Enrollment(card, world.wait()).renew().tlsa is TlsaState.VOUCHED
    assert identity_faults(card, bundle.name) == []
    after = read_certificate(card)
    assert after is not None
    assert before.issuer != after.issuer
    assert world.told(bundle.name) == ["certificate.issue", "certificate.issue"]


def test_a_fleet_with_a_registrys_bundles(world: World, tmp_path: Path) -> None:
    devices, bundles = tmp_path / "devices.csv", tmp_path / "bundles.jsonl"
    devices.write_text("label,type\n" + "".join(f"fleet{number},sensor\n" for number in range(40)))
    world.registry.run("device", "import", str(devices), "--output", str(bundles))
    arguments = ("enroll", "--state", tmp_path / "fleet", "--bundles", bundles, "--key-store", "software")
    resolver = ("--resolver", f"127.0.0.1:{world.resolver.port}", "--json")
    for outcome in ("enrolled", "already-enrolled"):
        done = command(*arguments, *resolver)
        assert done.returncode == 0, done.stderr
        results = [json.loads(line) for line in done.stdout.splitlines()]
        assert {(result["outcome"], result["tlsa"]) for result in results} == {(outcome, "vouched")}
        assert len({result["name"] for result in results}) == 40


def test_after_an_emergency_rollover_only_the_new_bundle_helps(
    world: World, card: IoTSafeClient, tmp_path: Path
) -> None:
    bundle = world.bundle("rolled")
    Enrollment(card, world.wait()).enroll(bundle)
    file = tmp_path / "bundles.jsonl"
    done = world.registry.json("rollover", "start", "home.example", "--yes", "--bundles", str(file))
    for attempt in (lambda: Enrollment(card).renew(), lambda: Enrollment(card).enroll(bundle)):
        with pytest.raises(RefusedError, match="answers 401"):
            attempt()
    fresh = {line["name"]: line["bundle"] for line in map(json.loads, file.read_text().splitlines())}
    new = Bundle.parse(fresh[bundle.name])
    # Until the parent zone has the new DS, the zone is bogus. The device must not take its record for published.
    world.resolver.control("flush_zone home.example")
    stale = Enrollment(card, TlsaWait(Resolver("127.0.0.1", world.resolver.port), 2)).enroll(new)
    assert (stale.outcome, stale.tlsa) == (Outcome.ENROLLED, TlsaState.BOGUS)
    assert world.registry.knot.tlsa(bundle.name)
    (ds,) = done["ds"]
    stubs = {"home.example": ("127.0.0.1", world.registry.dns_port)}
    with Unbound(tmp_path / "unbound", stubs, ds.replace(" DS ", " IN DS ")) as resolver:
        wait = TlsaWait(Resolver("127.0.0.1", resolver.port), 20)
        again = Enrollment(card, wait).enroll(new)
        assert (again.outcome, again.tlsa) == (Outcome.ALREADY_ENROLLED, TlsaState.VOUCHED)
    assert identity_faults(card, bundle.name) == []
    wait_for(lambda: not world.registry.device(bundle.name)["pending"], "the registry to agree")

"""The device and the registry together: Knot signs, Unbound validates, and the connection between them breaks."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from iot_safe_sim import est, layout
from iot_safe_sim.bundle import Bundle, BundleError
from iot_safe_sim.card import Card
from iot_safe_sim.client import IoTSafeClient, MemoryTransport
from iot_safe_sim.dns_wait import Resolver, TlsaState, TlsaWait
from iot_safe_sim.enrollment import Enrollment, Outcome
from iot_safe_sim.https import BrokenError, RefusedError
from tests.harness.process import free_port, wait_for
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.parts import Registry
from tests.integration.iot_safe_sim.test_enroll import assert_whole, command

#: A TLS record of application data from the client that is at least this long carries a certificate request.
REQUEST_BYTES = 400


@dataclass
class Wire:
    """The way to the registry. It forwards bytes, and breaks after a request for a certificate `cuts` times.

    It breaks when the registry has answered, which shows in what it counts: the answer is lost, not the request.
    """

    registry: Registry
    port: int = field(default_factory=free_port)
    cuts: int = 0
    lost: int = 0
    #: Whether clients send a certificate in TLS 1.3: encrypted, it looks like a request, and comes before it.
    certificates: bool = False

    def answers(self) -> float:
        """How many requests for certificates the registry has answered."""
        lines = self.registry.curl("/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("iot_registry_enrollments_total"))

    def __enter__(self) -> Wire:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        threads: list[threading.Thread] = []
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                break
            thread = threading.Thread(target=self._carry, args=(client,), daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join(5)

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.registry.port)) as server:
            asked = threading.Event()
            back = threading.Thread(target=self._back, args=(server, client, asked), daemon=True)
            back.start()
            before = self.answers() if self.cuts > 0 else 0
            pending, large = b"", 0
            try:
                while data := client.recv(65536):
                    pending += data
                    while len(pending) >= 5 and len(pending) >= (size := 5 + int.from_bytes(pending[3:5], "big")):
                        large += pending[0] == 23 and size > REQUEST_BYTES
                        if large > self.certificates and self.cuts > 0 and not asked.is_set():
                            self.cuts -= 1
                            asked.set()
                        pending = pending[size:]
                    server.sendall(data)
                    if asked.is_set():
                        wait_for(lambda: self.answers() > before, "the registry's answer")
                        self.lost += 1
                        # Away without a word, as when a modem loses its network.
                        client.shutdown(socket.SHUT_RDWR)
                        server.shutdown(socket.SHUT_RDWR)
                        break
                else:
                    server.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            back.join(10)

    def _back(self, server: socket.socket, client: socket.socket, asked: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if not asked.is_set():
                    client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@dataclass
class World:
    """A registry behind a wire, with a resolver that validates its zone."""

    registry: Registry
    wire: Wire
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
        Wire(registry, port) as wire,
    ):
        keymgr = ["keymgr", "-c", str(registry.knot.config), "home.example.", "ds"]
        ds = subprocess.run(keymgr, capture_output=True, text=True, check=True).stdout.replace(" DS ", " IN DS ")
        stubs = {"home.example": ("127.0.0.1", registry.dns_port)}
        with Unbound(folder / "unbound", stubs, ds) as resolver:
            yield World(registry, wire, resolver)


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
        certificate = assert_whole(client, bundle.name)
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
    world.wire.cuts, before = 1, world.wire.lost
    enrollment = Enrollment(card, world.wait(), progress=lambda step, text: steps.append(text))
    assert enrollment.enroll(bundle).tlsa is TlsaState.VOUCHED
    assert world.wire.lost == before + 1
    assert any(step.startswith("connection lost; asking again") for step in steps)
    assert world.told(bundle.name) == ["certificate.issue", "certificate.again"]
    assert_whole(card, bundle.name)


def test_a_run_that_never_got_its_answer_is_taken_up_by_the_next(world: World, card: IoTSafeClient) -> None:
    bundle = world.bundle("given-up")
    world.wire.cuts = 3
    with pytest.raises(BrokenError):
        Enrollment(card).enroll(bundle)
    assert world.wire.cuts == 0
    assert card.read_file(layout.CLIENT_CERTIFICATE) == b""
    # Even if the token's time is over by now: it was used in time.
    late = bundle.model_copy(update={"expires": datetime.now(UTC) - timedelta(seconds=1)})
    assert Enrollment(card, world.wait()).enroll(late).tlsa is TlsaState.VOUCHED
    assert world.told(bundle.name)[0] == "certificate.issue"
    assert set(world.told(bundle.name)[1:]) == {"certificate.again"}
    assert len(world.registry.device(bundle.name)["certificates"]) == 1
    assert_whole(card, bundle.name)


def test_another_card_with_the_same_bundle_gets_nothing(world: World, card: IoTSafeClient, tmp_path: Path) -> None:
    bundle = world.bundle("stolen")
    world.wire.cuts = 3
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
    world.wire.cuts, world.wire.certificates = 3, True
    try:
        with pytest.raises(BrokenError):
            Enrollment(card, world.wait()).renew(new_key=new_key)
    finally:
        world.wire.certificates = False
    assert world.wire.cuts == 0
    result = Enrollment(card, world.wait()).renew(new_key=new_key)
    assert (result.outcome, result.tlsa) == (Outcome.RENEWED, TlsaState.VOUCHED)
    # The same key gets the same answer again, however often it was lost.
    assert world.told(bundle.name) == ["certificate.issue"] * 2 + ["certificate.again"] * 3
    assert_whole(card, bundle.name)


def test_a_cas_successor_locks_no_device_out(world: World, card: IoTSafeClient) -> None:
    bundle = world.bundle("successor")
    Enrollment(card, world.wait()).enroll(bundle)
    world.registry.run("ca", "renew", "home.example", "--force")
    steps: list[str] = []
    again = Enrollment(card, world.wait(), progress=lambda step, text: steps.append(text)).enroll(bundle)
    assert (again.outcome, again.tlsa) == (Outcome.ALREADY_ENROLLED, TlsaState.VOUCHED)
    assert any("has a successor" in step for step in steps)
    before = assert_whole(card, bundle.name)
    assert Enrollment(card, world.wait()).renew().tlsa is TlsaState.VOUCHED
    after = assert_whole(card, bundle.name)
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
    # Until the parent has the new DS, validators call the zone bogus; the device must not take that for published.
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
    assert_whole(card, bundle.name)
    wait_for(lambda: not world.registry.device(bundle.name)["pending"], "the registry to agree")

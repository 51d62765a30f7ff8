"""Devices whose names no cache holds, on the real server, with authoritative servers that are far away, silent or dead.

A request that waits does so outside of the Python module. Whatever happens meanwhile, it ends in its decision or its
reason; nobody gets in by a wait; and no thread, descriptor or place stays occupied.
"""

from __future__ import annotations

import resource
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dane_radius.local.control_socket import ask
from tests.bench.devices import Fleet, client_context, make_fleet, policy, station
from tests.bench.eap_client import Device
from tests.bench.load import Load, Run, closed_loop, storm
from tests.harness.dns_delay import DnsDelay
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, authority
from tests.harness.process import wait_for
from tests.harness.unbound import Unbound

pytestmark = pytest.mark.daemons

FAR, OTHER = "far.example", "other.example"
DEAD = [f"dead{number}.example" for number in range(30)]
CROWD = 300


@dataclass
class Place:
    """A RADIUS server whose devices' zones are `relay`'s distance away; `near` is not."""

    folder: Path
    knot: Knot
    relay: DnsDelay
    unbound: Unbound
    radius: FreeRadius
    ca: Authority
    fleets: dict[str, Fleet]
    _used: Counter[str] = field(default_factory=Counter)

    def devices(self, zone: str, count: int) -> list[Device]:
        """Devices of a zone that no other test uses: cold in every cache."""
        first = self._used[zone]
        self._used[zone] += count
        devices = list(self.fleets[zone].devices[first : first + count])
        assert len(devices) == count, f"{zone} has no more devices"
        return devices

    def load(self, **changes: object) -> Load:
        load = Load(("127.0.0.1", self.radius.auth_port), SECRET.encode())
        return replace(load, **changes)  # type: ignore[arg-type]  # field names and their values

    def storm(self, devices: list[Device], **changes: object) -> Run:
        return storm(self.load(**changes), devices)

    def go_dark(self) -> None:
        """The authoritative server falls silent, and the resolver has no reason to expect that."""
        self.unbound.control("flush_infra all")
        self.relay.set(black_hole=True)

    def come_back(self) -> None:
        """It answers again, and the resolver does not hold its silence against it."""
        self.relay.set(round_trip=0.0, black_hole=False)
        self.unbound.control("flush_infra all")

    @property
    def waiting(self) -> int:
        status = ask(str(self.radius.control_socket), "status")
        return int(status["lookups"]["waiting"])

    @property
    def started(self) -> float:
        """Lookups that the module has started for devices."""
        causes = ("decision", "certificate", "identity")
        return sum(self.radius.metric(f'dane_radius_tlsa_lookups_total{{cause="{cause}"}}') for cause in causes)

    def reasons(self, devices: list[Device]) -> Counter[str]:
        """How the server decided about each of the devices, once each."""
        names = {device.name for device in devices}
        found: list[str] = []

        def all_there() -> bool:
            found[:] = [line["reason"] for line in self.radius.decisions() if line["name"] in names]
            return len(found) >= len(devices)

        wait_for(all_there, f"decisions about {len(devices)} devices")
        return Counter(found)

    def wait_metric(self, result: str) -> float:
        return self.radius.metric(f'dane_radius_dns_waits_total{{result="{result}"}}')


@pytest.fixture(scope="module")
def place(folder: Path) -> Iterator[Place]:
    ca = authority("Waiting Test CA")
    where = folder / "waiting"
    where.mkdir()
    radius = FreeRadius(where / "radius", 0, "", [ca])
    server_ca = where / "server-ca.pem"
    server_ca.write_bytes(radius.server_ca.pem)
    fleets: dict[str, Fleet] = {}
    first = 1
    for zone, count in ((FAR, 2 * CROWD + 400), (OTHER, 60), *((zone, 4) for zone in DEAD)):
        fleets[zone] = make_fleet(ca, zone, count, where / "devices", server_ca, first=first, ttl=60)
        first += count
    zones = [Zone(zone, fleets[zone].records) for zone in (FAR, OTHER)]
    with (
        Knot(where / "knot", zones) as knot,
        DnsDelay(knot.port) as relay,
        DnsDelay(knot.port, black_hole=True) as hole,
    ):
        stubs = {FAR: (relay.address, relay.port), OTHER: ("127.0.0.1", knot.port)}
        stubs |= dict.fromkeys(DEAD, (hole.address, hole.port))
        anchors = knot.trust_anchors(FAR) + knot.trust_anchors(OTHER)
        with Unbound(where / "unbound", stubs, anchors) as unbound:
            radius.resolver_port, radius.policy = unbound.port, policy(fleets)
            with radius:
                yield Place(where, knot, relay, unbound, radius, ca, fleets)


@pytest.fixture(autouse=True)
def nothing_stays(place: Place) -> Iterator[None]:
    """After each test, whatever it did: nobody waits, no descriptor is left, and the next device gets in."""
    assert place.radius.daemon is not None
    yield
    place.come_back()
    wait_for(lambda: place.waiting == 0, "the last request that waits", 20)
    wait_for(lambda: place.storm(place.devices(FAR, 1)).outcomes[0].accepted, "a healthy device to get in", 20)
    assert place.radius.daemon.running
    descriptors = Path(f"/proc/{place.radius.daemon.pid}/fd")
    kinds = lambda: Counter(link.readlink().name for link in descriptors.iterdir())  # noqa: E731  # asked again and again
    wait_for(lambda: kinds()["anon_inode:[eventfd]"] <= 8, "descriptors of waits to be closed", 10)


def in_background(work: Callable[[], Run]) -> Future[Run]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def accepted(run: Run) -> int:
    return sum(outcome.accepted for outcome in run.outcomes)


def test_a_building_comes_back_after_a_power_cut(place: Place) -> None:
    devices = place.devices(FAR, CROWD)
    place.relay.set(round_trip=0.03)
    answered = place.wait_metric("answered")
    run = place.storm(devices)
    assert place.reasons(devices) == {"dane_match": CROWD}
    assert accepted(run) == CROWD
    assert place.wait_metric("answered") > answered, "nobody had to wait: this was no test of waiting"


def test_one_name_for_three_hundred_devices_is_asked_for_once(place: Place) -> None:
    (device,) = place.devices(FAR, 1)
    crowd = [Device(device.name, FAR, station(1_000_000 + number), device.context) for number in range(CROWD)]
    place.relay.set(round_trip=0.05)
    started = place.started
    run = place.storm(crowd)
    assert accepted(run) == CROWD
    assert place.started == started + 1


def test_devices_that_name_themselves_are_looked_up_early(place: Place) -> None:
    devices = place.devices(FAR, 20)
    early = 'dane_radius_tlsa_lookups_total{cause="identity"}'
    before = place.radius.metric(early)
    place.relay.set(round_trip=0.02)
    assert accepted(closed_loop(place.load(anonymous=False), devices, 5, 20)) == 20
    assert place.radius.metric(early) == before + 20
    # A name that policy does not cover is asked about by nobody.
    (device,) = place.devices(FAR, 1)
    name = "d1.camera._device.stranger.example"
    closed_loop(place.load(anonymous=False), [replace(device, name=name)], 1, 1)
    assert place.radius.metric(early) == before + 20
    assert place.unbound.queries_for(name) == 0


def test_a_flush_while_a_request_waits_lets_nobody_in_by_an_old_record(place: Place) -> None:
    kept, revoked = place.devices(FAR, 2)
    place.go_dark()
    runs = [in_background(lambda device=device: place.storm([device])) for device in (kept, revoked)]
    wait_for(lambda: place.waiting == 2, "both requests to wait")
    place.knot.delete_tlsa(FAR, revoked.name)
    ask(str(place.radius.control_socket), "flush", name=revoked.name)
    ask(str(place.radius.control_socket), "flush", name=FAR, below=True)
    place.come_back()
    outcomes = [run.result(30).outcomes[0] for run in runs]
    assert not outcomes[1].accepted
    assert place.reasons([revoked]) <= Counter({"tlsa_absent": 1, "dns_unavailable": 1})
    # The other one may have been too late, but not refused for its record.
    assert place.reasons([kept]) <= Counter({"dane_match": 1, "dns_unavailable": 1})


def test_a_policy_that_changes_while_a_request_waits_counts(place: Place) -> None:
    (device,) = place.devices(FAR, 1)
    place.go_dark()
    run = in_background(lambda: place.storm([device]))
    wait_for(lambda: place.waiting == 1, "the request to wait")
    try:
        text = policy(place.fleets).replace("grant: {vlan: 42, session_timeout: 8h}", "deny: true")
        place.radius.write_policy(text)
        # Longer than the request waits, if need be: then it is refused for want of an answer.
        place.radius.wait_policy()
        place.come_back()
        assert not run.result(30).outcomes[0].accepted
        assert set(place.reasons([device])) == {"policy_denied"}
    finally:
        place.radius.write_policy(policy(place.fleets))
        place.radius.wait_policy()


def test_a_resolver_that_dies_while_two_hundred_wait(place: Place) -> None:
    devices = place.devices(FAR, 200)
    place.go_dark()
    run = in_background(lambda: place.storm(devices))
    wait_for(lambda: place.waiting > 100, "many requests to wait")
    assert place.unbound.daemon is not None
    place.unbound.daemon.kill()
    try:
        outcomes = run.result(60)
        assert accepted(outcomes) == 0
        assert set(place.reasons(devices)) <= {"dns_unavailable", "dns_overloaded"}
    finally:
        place.unbound.start()
        place.come_back()
    # At a next try, they all get in: a failed lookup is remembered for a second.
    wait_for(lambda: accepted(closed_loop(place.load(), devices, 20, 200)) == 200, "all of them to get in", 30)


def test_a_resolver_that_restarts_is_waited_for(place: Place) -> None:
    devices = place.devices(FAR, 20)
    assert place.unbound.daemon is not None
    place.unbound.daemon.kill()
    run = in_background(lambda: place.storm(devices))
    place.unbound.start()
    again = [outcome.device for outcome in run.result(60).outcomes if not outcome.accepted]
    # A slow machine may restart it too late for some; those get in at once now.
    assert accepted(place.storm(again)) == len(again)
    assert len(again) < 20


def test_thirty_dead_zones_cost_nobody_else_anything(place: Place) -> None:
    doomed = [device for zone in DEAD for device in place.devices(zone, 4)]
    known, healthy = place.devices(OTHER, 10), place.devices(OTHER, 40)
    assert accepted(closed_loop(place.load(), known, 5, 10)) == 10
    dying = in_background(lambda: place.storm(doomed))
    wait_for(lambda: place.waiting > 20, "requests of dead zones to wait")
    # Cold ones and warm ones of a zone that answers, and a new zone's.
    assert accepted(closed_loop(place.load(), [*known, *healthy], 5, 50)) == 50
    assert accepted(place.storm(place.devices(FAR, 5))) == 5
    assert accepted(dying.result(60)) == 0
    assert set(place.reasons(doomed)) <= {"dns_unavailable", "dns_overloaded"}


def test_the_status_names_domains_that_do_not_answer(place: Place) -> None:
    devices = place.devices(FAR, 3)
    place.go_dark()
    run = in_background(lambda: place.storm(devices))

    def slow() -> set[str]:
        status = ask(str(place.radius.control_socket), "status")
        return {entry["domain"] for entry in status["lookups"]["slow_domains"]}

    wait_for(lambda: f"_device.{FAR}" in slow(), "the domain to be slow")
    assert place.radius.metric("dane_radius_slow_domains") >= 1
    assert accepted(run.result(30)) == 0
    place.come_back()
    wait_for(lambda: place.storm(place.devices(FAR, 1)).outcomes[0].accepted, "the domain to answer")
    assert f"_device.{FAR}" not in slow(), "the first answer ends it"


BROKEN_WAITS = {
    "returns at once": 'sub wait_for_answer { return "ready" }',
    "dies": "sub wait_for_answer { die 'no' }",
    "gives nothing": "sub wait_for_answer { return undef }",
    "ends the thread's interpreter": "sub wait_for_answer { my @a = (1) x 10; undef @a; return 'x' x 10000 }",
    "is not there": "1;",
}


@pytest.mark.parametrize("how", BROKEN_WAITS)
def test_a_broken_wait_lets_nobody_in(place: Place, folder: Path, how: str) -> None:
    """Whatever becomes of the module that waits: cold devices are refused with their reason, warm ones get in."""
    radius = FreeRadius(
        place.folder / f"broken-{how.replace(' ', '-').replace(chr(39), '')}",
        place.unbound.port,
        policy([FAR]),
        [place.ca],
    )
    radius.server_ca, radius.server = place.radius.server_ca, place.radius.server
    radius.prepare()
    (radius.raddb / "mods-config/dane/wait.pl").write_text(BROKEN_WAITS[how] + "\n1;\n")
    cold, warm = place.devices(FAR, 2)
    with radius:
        load = replace(place.load(), server=("127.0.0.1", radius.auth_port))
        place.relay.set(round_trip=0.3)
        assert accepted(storm(load, [cold])) == 0
        decision = radius.decision_for(cold.station)
        assert decision["reason"] == "dns_unavailable"
        assert "cut short" in decision["detail"]
        # Its lookup went on.
        place.relay.set(round_trip=0.0)
        wait_for(lambda: storm(load, [cold]).outcomes[0].accepted, "the device to get in by its cached answer")
        assert radius.metric('dane_radius_dns_waits_total{result="cut_short"}') >= 1
    assert warm


def test_a_request_that_freeradius_gives_up_leaves_nothing_behind(place: Place) -> None:
    radius = FreeRadius(place.folder / "given-up", place.unbound.port, policy([FAR]), [place.ca], dns_timeout=8)
    radius.server_ca, radius.server = place.radius.server_ca, place.radius.server
    radius.prepare()
    conf = radius.raddb / "radiusd.conf"
    text = conf.read_text()
    assert "max_request_time = 30" in text
    conf.write_text(text.replace("max_request_time = 30", "max_request_time = 5"))
    # Modules that may take longer, which the server does not put up with then.
    for name in ("exec", "ntlm_auth", "echo"):
        (radius.raddb / "mods-enabled" / name).unlink()
    devices = place.devices(FAR, 3)
    with radius:
        load = replace(place.load(), server=("127.0.0.1", radius.auth_port), retransmit=1.0, attempts=20)
        place.go_dark()
        run = storm(load, devices)
        assert accepted(run) == 0
        place.come_back()
        status = lambda: ask(str(radius.control_socket), "status")["lookups"]["waiting"]  # noqa: E731  # asked again
        wait_for(lambda: status() == 0, "the places to be free again", 30)
        wait_for(lambda: accepted(storm(load, devices)) == 3, "the devices to get in", 30)
        assert radius.daemon is not None
        assert radius.daemon.running


def test_a_name_of_a_live_session_is_looked_up_before_the_session_ends(place: Place) -> None:
    """A session ends with its certificate at the latest: here, seconds after it began."""
    name = f"short.camera._device.{FAR}"
    identity = place.ca.issue(name, days=9 / 86400, not_before=datetime.now(UTC))
    place.knot.add_tlsa(FAR, name, str(identity.tlsa()), ttl=3)
    context = client_context(identity, place.folder / "short.pem", place.folder / "server-ca.pem", "1.3")
    counted = 'dane_radius_tlsa_lookups_total{cause="session_end"}'
    before = place.radius.metric(counted)
    assert accepted(place.storm([Device(name, FAR, station(2_000_000), context)])) == 1
    wait_for(lambda: place.radius.metric(counted) == before + 1, "a lookup before the session ends", 15)


def test_the_names_above_devices_are_kept_ready(place: Place) -> None:
    """The resolver knows the zone before the first device asks, and a zone that is dead is known to be."""
    assert place.unbound.queries_for(f"camera._device.{FAR}") >= 1
    assert place.radius.metric('dane_radius_tlsa_lookups_total{cause="domain"}') >= 2 + len(DEAD)


def test_floods_of_the_control_socket_and_the_metrics_port_do_not_end_a_wait(place: Place) -> None:
    devices = place.devices(FAR, 20)
    place.relay.set(round_trip=0.06)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            ask(str(place.radius.control_socket), "status")
            place.radius.metrics()

    threads = [threading.Thread(target=flood) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert accepted(place.storm(devices)) == 20
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_a_thousand_idle_connections_to_the_metrics_port_refuse_nobody(place: Place) -> None:
    """A server that is short of descriptors cannot write a TLS session, and refuses every device."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    idle = []
    try:
        for _ in range(1100):
            try:
                idle.append(socket.create_connection(("127.0.0.1", place.radius.metrics_port), timeout=1))
            except OSError:
                # Its queue is full: as good as refused.
                break
        assert len(idle) > 8
        assert accepted(place.storm(place.devices(FAR, 20))) == 20
        assert place.radius.daemon is not None
        assert len(list(Path(f"/proc/{place.radius.daemon.pid}/fd").iterdir())) < 200
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    def scraped() -> bool:
        try:
            return "dane_radius_build_info" in place.radius.metrics()
        except (OSError, IndexError):
            # Closed without an answer: the last of the others still hold the places.
            return False

    wait_for(scraped, "the next scrape", 20)

"""What goes wrong in real networks: lost packets, servers and switches that die, long certificates, forged requests.

Devices, a switch port (hostapd), and RADIUS servers that decide by DNS. Whatever fails, nobody gets in without a
decision, and who may get in does so in the end. What mostly waits runs beside the other tests, in threads.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.harness.eap import EapResult, authenticate, next_station, write_peer_config
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, Identity, authority
from tests.harness.process import wait_for
from tests.harness.relay import REPLY, REQUEST, Relay, lose
from tests.harness.unbound import Unbound
from tests.harness.wired import Wire

pytestmark = pytest.mark.daemons

ZONE = "iot.example"
POLICY = """\
version: 1
session: {ttl_factor: 1, minimum: 30}
rules:
  - name: everything
    identity: ["**.iot.example"]
    grant: {vlan: 42, session_timeout: 8h}
"""
# Switches on IPv4 and IPv6 uplinks, as docs/switch.md has them.
CLIENTS = f"""\
client switches {{
	ipaddr = 10.0.0.0/8
	secret = {SECRET}
	require_message_authenticator = yes
}}
client switches-ipv6 {{
	ipv6addr = fd00:dade::/32
	secret = {SECRET}
	require_message_authenticator = yes
}}
client forgetful {{
	ipaddr = 127.0.0.66
	secret = {SECRET}
	require_message_authenticator = no
}}
"""
TLS = pytest.mark.parametrize("tls", ["1.2", "1.3"])

_numbers = itertools.count(1)


@dataclass
class Network:
    """The daemons, and how devices and switches are made."""

    folder: Path
    knot: Knot
    unbound: Unbound
    ca: Authority
    stack: contextlib.ExitStack

    def server(self, name: str, **options: Any) -> FreeRadius:
        """A RADIUS server, ready to start."""
        radius = FreeRadius(self.folder / name, self.unbound.port, POLICY, [self.ca], **options)
        radius.prepare()
        clients = radius.raddb / "clients.conf"
        clients.write_text(clients.read_text() + CLIENTS)
        # A reply is kept for as long as a NAS may ask for it again: hostapd and eapol_test do so after 3 and 9 s.
        conf = radius.raddb / "radiusd.conf"
        conf.write_text(conf.read_text().replace("cleanup_delay = 1\n", "cleanup_delay = 10\n"))
        return radius

    def wire(self, radius: FreeRadius, **options: Any) -> Wire:
        """A switch port that asks `radius`."""
        folder = self.folder / f"wire{next(_numbers)}"
        return Wire(folder, radius.auth_port, radius.acct_port, SECRET, **options)

    def device(self, *, vouched: bool = True, ttl: int = 3600) -> tuple[str, Identity]:
        """A name and its device; without `vouched`, the DNS knows nothing of it."""
        name = f"d{next(_numbers)}._device.{ZONE}"
        device = self.ca.issue(name)
        if vouched:
            self.knot.add_tlsa(ZONE, name, str(device.tlsa()), ttl)
        return name, device

    def peer(
        self, radius: FreeRadius, device: Identity, *, tls: str = "1.3", wire: Wire | None = None, chain: bytes = b""
    ) -> Path:
        """A network block for eapol_test, or for wpa_supplicant on `wire`."""
        path = write_peer_config(
            self.folder / "peers",
            device,
            identity=f"anonymous@{ZONE}",
            server_ca=radius.server_ca_file,
            tls=tls,
            name=f"p{next(_numbers)}",
            chain=chain,
        )
        if wire:
            path.write_text(f"ctrl_interface={wire.folder}/wpa\nap_scan=0\n{path.read_text()}")
        return path


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    folder = Path(tempfile.mkdtemp(prefix="resilience-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        zone = Zone(ZONE, f"keep._device TLSA 3 1 1 {'00' * 32}\n")
        knot = stack.enter_context(Knot(folder / "knot", [zone]))
        unbound = Unbound(folder / "unbound", {ZONE: ("127.0.0.1", knot.port)}, knot.trust_anchors(ZONE))
        stack.enter_context(unbound)
        yield Network(folder, knot, unbound, authority("Resilience CA"), stack)


@pytest.fixture(scope="module")
def main_server(net: Network) -> FreeRadius:
    return net.stack.enter_context(net.server("main", accounting="sqlite"))


@pytest.fixture(scope="module")
def wire(net: Network, main_server: FreeRadius) -> Wire:
    return net.stack.enter_context(net.wire(main_server))


def decisions_about(radius: FreeRadius, station: str) -> list[dict[str, Any]]:
    wanted = station.replace(":", "-")
    return [line for line in radius.decisions() if line.get("station", "").lower() == wanted]


def accepts(radius: FreeRadius, station: str) -> int:
    return sum(1 for decision in decisions_about(radius, station) if decision["verdict"] == "accept")


def wait_accepts(radius: FreeRadius, station: str, count: int = 1) -> None:
    """The log is written a moment after the answer; then it holds as many accepts as were given."""
    wait_for(lambda: accepts(radius, station) == count, f"{count} accepts of {station} in the decision log")


@pytest.fixture(scope="module", autouse=True)
def waiting(net: Network, main_server: FreeRadius) -> Iterator[dict[str, Future[None]]]:
    """The scenarios that mostly wait, by name; each raises what it found wrong."""
    scenarios: dict[str, Callable[[], None]] = {
        "loss": lambda: lossy_path(net, main_server),
        "failover": lambda: failover(net, main_server),
        "reauthentication": lambda: reauthentication(net, main_server),
    }
    with ThreadPoolExecutor(len(scenarios)) as pool:
        yield {name: pool.submit(scenario) for name, scenario in scenarios.items()}


@TLS
def test_both_tls_versions_over_the_wire(net: Network, main_server: FreeRadius, wire: Wire, tls: str) -> None:
    for vouched in (False, True):
        _, device = net.device(vouched=vouched)
        station = next_station()
        with wire.attach(net.peer(main_server, device, tls=tls, wire=wire), station):
            if vouched:
                wait_for(lambda: wire.authorized(station), "the port to open", timeout=20)
                assert f"eap_tls_version=TLSv{tls}" in wire.wpa_cli("status")
                assert main_server.decision_for(station)["reason"] == "dane_match"
            else:
                wait_for(lambda: wire.refused(station), "hostapd to see the refusal", timeout=20)
                assert not wire.authorized(station)
                assert main_server.decision_for(station)["reason"] == "tlsa_absent"


def lossy_path(net: Network, server: FreeRadius) -> None:
    def attempt(device: Identity, tls: str, tries: int) -> list[EapResult]:
        results: list[EapResult] = []
        config = net.peer(server, device, tls=tls)
        while len(results) < tries and not (results and results[-1].accepted):
            results.append(authenticate(server, config, timeout=30, extra=("-p", str(relay.port))))
        return results

    with Relay(server.auth_port, lose(0.2, seed=7)) as relay, ThreadPoolExecutor(6) as pool:
        good = [pool.submit(attempt, net.device()[1], tls, 5) for tls in ("1.2", "1.3") * 2]
        bad = [pool.submit(attempt, net.device(vouched=False)[1], tls, 2) for tls in ("1.2", "1.3")]
        admitted = [future.result() for future in good]
        refused = [result for future in bad for result in future.result()]
    print(f"seen {dict(relay.seen)}, dropped {dict(relay.dropped)}; tries {[len(tries) for tries in admitted]}")
    assert relay.dropped[REQUEST] >= 5
    assert relay.dropped[REPLY] >= 5
    for results in admitted:
        assert results[-1].accepted
        wait_accepts(server, results[-1].station)
    assert len(refused) == 4
    assert not any(result.accepted or result.code == "Access-Accept" for result in refused)
    assert any(result.code == "Access-Reject" for result in refused)
    assert sum(accepts(server, result.station) for result in refused) == 0


def failover(net: Network, second: FreeRadius) -> None:
    first = net.server("first")
    wire = net.wire(first)
    wire.more_servers = [(wire.server_address, second.auth_port)]
    stations = [next_station() for _ in range(3)]
    devices = [net.device(vouched=vouched)[1] for vouched in (True, True, False)]
    with wire:
        with first:
            with wire.attach(net.peer(first, devices[0], wire=wire), stations[0]):
                wait_for(lambda: wire.authorized(stations[0]), "the port to open", timeout=20)
                wait_accepts(first, stations[0])
        for station, device in zip(stations[1:], devices[1:], strict=True):
            began = time.monotonic()
            with wire.attach(net.peer(second, device, wire=wire), station):
                wait_for(lambda: decisions_about(second, station), "the second server", timeout=110, interval=0.2)  # noqa: B023
                print(f"decided after {time.monotonic() - began:.1f} s")
        assert [d["reason"] for d in decisions_about(second, stations[1])] == ["dane_match"]
        assert [d["reason"] for d in decisions_about(second, stations[2])] == ["tlsa_absent"]
        assert decisions_about(second, stations[0]) == []


def reauthentication(net: Network, server: FreeRadius) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(net.wire(server)) for _ in range(2)]
        stations, names = [next_station() for _ in wires], []
        for wire, station in zip(wires, stations, strict=True):
            name, device = net.device(ttl=1)
            names.append(name)
            stack.enter_context(wire.attach(net.peer(server, device, wire=wire), station))
        for wire, station in zip(wires, stations, strict=True):
            wait_for(lambda w=wire, s=station: w.authorized(s), "the port to open", timeout=20)  # type: ignore[misc]
            wait_accepts(server, station)
        (kept, kept_at), (lost, lost_at) = zip(wires, stations, strict=True)
        net.knot.delete_tlsa(ZONE, names[1])
        wait_for(lambda: accepts(server, kept_at) >= 2, "a second decision", timeout=60, interval=0.2)
        wait_for(lambda: lost.refused(lost_at), "the refusal at the re-authentication", timeout=60, interval=0.2)
        wait_for(lambda: not lost.authorized(lost_at), "the port to be closed")
        assert kept.authorized(kept_at)
        assert kept.disconnections() == 0
        assert [d["reason"] for d in decisions_about(server, lost_at)] == ["dane_match", "tlsa_absent"]


def test_a_fifth_of_all_packets_lost(waiting: dict[str, Future[None]]) -> None:
    """Devices get in in the end, and those that must not stay out, over a lossy path to the server."""
    waiting["loss"].result()


def test_the_second_server_decides_when_the_first_is_stopped(waiting: dict[str, Future[None]]) -> None:
    waiting["failover"].result()


def test_the_decision_is_made_again_at_session_timeout(waiting: dict[str, Future[None]]) -> None:
    """A device whose record stands goes on; one whose record went meanwhile finds its port closed."""
    waiting["reauthentication"].result()

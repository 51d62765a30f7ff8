"""A flood of identities that nobody proves: few of their hints wait, and known devices are admitted meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.devices import make_fleet, policy
from tests.bench.eap_client import Conversation, Device, Peer, nas_attributes
from tests.bench.load import Load, storm
from tests.bench.scenarios.floods import silent_worker
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.process import wait_for
from tests.harness.unbound import Unbound

pytestmark = pytest.mark.daemons

ZONE = "claimed.example"
CLAIMS = 40


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[tuple[FreeRadius, list[Device]]]:
    """A server that sends hints to a worker which never answers, so that each waits for as long as it may."""
    where = folder / "hint-flood"
    where.mkdir()
    ca = authority("Claims CA")
    radius = FreeRadius(where / "radius", 0, "", [ca], hint_socket=where / "hints.sock")
    server_ca = where / "server-ca.pem"
    server_ca.write_bytes(radius.server_ca.pem)
    fleet = make_fleet(ca, ZONE, 3, where / "devices", server_ca)
    with Knot(where / "knot", [Zone(ZONE, fleet.records)]) as knot:
        stubs = {ZONE: ("127.0.0.1", knot.port)}
        with Unbound(where / "unbound", stubs, knot.trust_anchors(ZONE)) as unbound:
            radius.resolver_port, radius.policy = unbound.port, policy([ZONE])
            with silent_worker(where / "hints.sock"), radius:
                yield radius, list(fleet.devices)


def claim(load: Load, device: Device, number: int) -> socket.socket:
    """An EAP identity that names another device, and the socket on which its answer comes."""
    name = f"stranger{number}.camera._device.{ZONE}"
    attributes = nas_attributes(device, name, ssid="iot")
    request = Conversation(Peer(device.context, name.encode()), attributes, load.secret).request(number % 256)
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.connect(load.server)
    port.send(request)
    return port


def test_known_devices_are_admitted_during_a_flood_of_claims(server: tuple[FreeRadius, list[Device]]) -> None:
    """The rate of hints is limited before any of them waits, so few threads are occupied, however many claims come."""
    radius, devices = server
    load = Load(("127.0.0.1", radius.auth_port), SECRET.encode())
    assert all(outcome.accepted for outcome in storm(load, devices).outcomes)
    ports: list[socket.socket] = []
    try:
        for burst in range(5):
            ports += [claim(load, devices[0], CLAIMS * burst + number) for number in range(CLAIMS)]
            outcomes = storm(load, devices).outcomes
            assert [outcome.why or outcome.verdict.value for outcome in outcomes if not outcome.accepted] == []

        def counted(result: str) -> float:
            return radius.metric(f'dane_radius_hints_total{{result="{result}"}}')

        wait_for(lambda: counted("pending") + counted("limited") == 5 * CLAIMS, "all claims to be counted", 20)
        # The default for one identity domain is five a second.
        assert 0 < counted("pending") < counted("limited")
        for port in ports:
            port.settimeout(20)
            assert port.recv(4096)[:1] == b"\x0b", "a claim gets an Access-Challenge, as any identity does"
    finally:
        for port in ports:
            port.close()

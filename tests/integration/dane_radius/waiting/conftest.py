"""One RADIUS server for the tests of this folder, with names that no cache holds.

A request that waits does so outside of the Python module. Whatever happens in the meantime, the request ends in its
decision or its reason. A wait admits nobody, and it leaves no thread, descriptor or place occupied.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.devices import Fleet, make_fleet, policy
from tests.harness.dns_delay import DnsDelay
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.process import wait_for
from tests.harness.unbound import Unbound
from tests.integration.dane_radius.waiting.place import CROWD, DEAD, FAR, OTHER, Place


@pytest.fixture(scope="package")
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
    """After each test, whatever it did: no request waits, no descriptor is left, and the next device is admitted."""
    assert place.radius.daemon is not None
    yield
    place.recover()
    wait_for(lambda: place.waiting == 0, "the last request that waits", 20)
    wait_for(lambda: place.storm(place.devices(FAR, 1)).outcomes[0].accepted, "a healthy device to be admitted", 20)
    assert place.radius.daemon.running
    descriptors = Path(f"/proc/{place.radius.daemon.pid}/fd")

    def eventfds() -> int:
        return sum(link.readlink().name == "anon_inode:[eventfd]" for link in descriptors.iterdir())

    wait_for(lambda: eventfds() <= 8, "descriptors of waits to be closed", 10)

"""A RADIUS server whose devices' zones can be far away, silent or dead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dane_radius.local.control_socket import ask
from tests.bench.devices import Fleet, policy
from tests.bench.eap_client import Device
from tests.bench.load import Load, Run, storm
from tests.harness.dns_delay import DnsDelay
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.knot import Knot
from tests.harness.pki import Authority
from tests.harness.process import wait_for
from tests.harness.unbound import Unbound

FAR, OTHER = "far.example", "other.example"
DEAD = [f"dead{number}.example" for number in range(30)]
CROWD = 300


@dataclass
class Place:
    """A RADIUS server, its devices, and the way to their zones.

    `relay` stands before FAR, OTHER is near, and the servers of DEAD never answer.
    """

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
        if len(devices) < count:
            raise RuntimeError(f"{zone} has no more devices")
        return devices

    def server(self, name: str, **options: Any) -> FreeRadius:
        """A second server for FAR, prepared, which shows devices the same certificate."""
        radius = FreeRadius(self.folder / name, self.unbound.port, policy([FAR]), [self.ca], **options)
        radius.server_ca, radius.server = self.radius.server_ca, self.radius.server
        radius.prepare()
        return radius

    def load(self, **changes: object) -> Load:
        load = Load(("127.0.0.1", self.radius.auth_port), SECRET.encode())
        return replace(load, **changes)  # type: ignore[arg-type]  # field names and their values

    def storm(self, devices: list[Device], **changes: object) -> Run:
        """All of these devices at once."""
        return storm(self.load(**changes), devices)

    def go_dark(self) -> None:
        """Silence the authoritative server, while the resolver still expects it to answer at once."""
        self.unbound.control("flush_infra all")
        self.relay.set(black_hole=True)

    def recover(self) -> None:
        """Have it answer again, and the resolver forget its silence."""
        self.relay.set(round_trip=0.0, black_hole=False)
        self.unbound.control("flush_infra all")

    @property
    def waiting(self) -> int:
        """Requests that wait now."""
        return waiting(self.radius)

    @property
    def started(self) -> float:
        """Lookups that the module has started for devices."""
        causes = ("decision", "certificate", "identity")
        return sum(self.radius.metric(f'dane_radius_tlsa_lookups_total{{cause="{cause}"}}') for cause in causes)

    def reasons(self, devices: list[Device]) -> Counter[str]:
        """The reasons of the decisions about these devices, once the log holds one for each."""
        names = {device.name for device in devices}
        found: list[str] = []

        def all_there() -> bool:
            found[:] = [line["reason"] for line in self.radius.decisions() if line["name"] in names]
            return len(found) >= len(devices)

        wait_for(all_there, f"decisions about {len(devices)} devices")
        return Counter(found)

    def waits(self, result: str) -> float:
        """How many waits have ended like this so far."""
        return self.radius.metric(f'dane_radius_dns_waits_total{{result="{result}"}}')


def waiting(radius: FreeRadius) -> int:
    """Requests of a server that wait now."""
    return int(ask(str(radius.control_socket), "status")["lookups"]["waiting"])


def in_background(work: Callable[[], Run]) -> Future[Run]:
    """Start devices, and go on; the result is their outcomes."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


def accepted(run: Run) -> int:
    """How many devices were admitted."""
    return sum(outcome.accepted for outcome in run.outcomes)

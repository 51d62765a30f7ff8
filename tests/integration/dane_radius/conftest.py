"""One site for the tests of this folder: a signed zone, a validating resolver, and a RADIUS server that decides.

`site` is shared; `own_servers` makes servers for tests that change, break or end one.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.harness.eap import EapResult, authenticate, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, Identity, authority
from tests.harness.unbound import Unbound

pytestmark = pytest.mark.daemons

ZONE = "iot.example"
PLAIN_ZONE = "plain.example"
POLICY = """\
version: 1
networks:
  house: {ssid: [iot, "iot-*"]}
  cellar: {nas: ["switch-*", 192.0.2.0/24]}
  loopback: {nas: [127.0.0.0/8]}
rules:
  - name: quarantined-vendor
    identity: ["*.blocked._device.iot.example"]
    deny: true
  - name: strong
    identity: ["*.lock._device.iot.example"]
    require: dane_ee
    grant: {vlan: 7, session_timeout: 1h}
  - name: watched
    identity: ["*.watched._device.iot.example"]
    mode: monitor
    grant: {vlan: 99}
  - name: house-only
    identity: ["*.house._device.iot.example"]
    networks: [house]
    grant: {vlan: 10}
  - name: cellar-only
    identity: ["*.cellar._device.iot.example"]
    networks: [cellar]
    grant: {vlan: 11}
  - name: loopback-only
    identity: ["*.loopback._device.iot.example"]
    networks: [loopback]
    grant: {vlan: 12}
  - name: everything
    identity: ["*.camera._device.iot.example", "*.reload._device.iot.example", "**.plain.example"]
    grant:
      vlan: 42
      filter_id: iot-default
      nas_filter_rules: ["permit in udp from any to any 53", "deny in ip from any to any"]
      session_timeout: 8h
      idle_timeout: 10m
      class: cameras
"""

_numbers = itertools.count(1)


@dataclass
class Site:
    """The running daemons, a CA that the server knows, and how devices try to be admitted."""

    folder: Path
    knot: Knot
    unbound: Unbound
    radius: FreeRadius
    ca: Authority
    _peers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def name(self, group: str = "camera", zone: str = ZONE) -> str:
        """A device name that no other test uses."""
        return f"d{next(_numbers)}.{group}._device.{zone}"

    def publish(self, name: str, *records: Any, ttl: int = 60, zone: str = ZONE) -> None:
        for record in records:
            self.knot.add_tlsa(zone, name, str(record), ttl)

    def peer(self, device: Identity, identity: str = "anonymous@example.org", tls: str = "1.3") -> Path:
        return write_peer_config(
            self.folder / "peers",
            device,
            identity=identity,
            server_ca=self.radius.server_ca_file,
            tls=tls,
            name=f"p{next(self._peers)}",
        )

    def authenticate(self, device: Identity, *, tls: str = "1.3", **options: Any) -> tuple[EapResult, dict[str, Any]]:
        """One authentication: what the peer saw, and the decision that the server logged."""
        result = authenticate(self.radius, self.peer(device, tls=tls), **options)
        return result, self.radius.decision_for(result.station)

    def refusal(self, device: Identity, **options: Any) -> str | None:
        """The reason why a device is refused; None when the RADIUS answer, EAP or the log says that it is not."""
        result, decision = self.authenticate(device, **options)
        refused = result.code == "Access-Reject" and not result.accepted and decision["verdict"] == "reject"
        return str(decision["reason"]) if refused else None


@dataclass(frozen=True)
class OwnServers:
    """Servers of a test's own, which know one CA, and a device of it that they admit."""

    folder: Path
    resolver_port: int
    ca: Authority
    device: Identity
    stack: contextlib.ExitStack

    def prepare(self, name: str, **options: Any) -> FreeRadius:
        """A server that is installed, but not started. Whatever a test leaves of it ends with the session."""
        server = FreeRadius(self.folder / name, self.resolver_port, POLICY, [self.ca], **options)
        self.stack.callback(server.stop)
        server.prepare()
        return server

    def authenticate(self, server: FreeRadius, device: Identity | None = None, **options: Any) -> EapResult:
        """One authentication of a device (None: the one that is admitted)."""
        config = write_peer_config(
            server.folder / "peers",
            device or self.device,
            identity=f"anonymous@{ZONE}",
            server_ca=server.server_ca_file,
            name=f"p{next(_numbers)}",
        )
        return authenticate(server, config, **options)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that the server's user may enter, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="dane-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def dns(folder: Path) -> Iterator[tuple[Knot, Unbound]]:
    # Each group has a record from the start: a cached denial of a whole group would cover every name below it.
    groups = ("camera", "house", "cellar", "lock", "loopback")
    keep = "".join(f"keep.{group}._device TLSA 3 1 1 {'00' * 32}\n" for group in groups)
    zones = [Zone(ZONE, keep), Zone(PLAIN_ZONE, signed=False)]
    with Knot(folder / "knot", zones) as knot:
        stubs = {zone.name: ("127.0.0.1", knot.port) for zone in zones}
        with Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE)) as unbound:
            yield knot, unbound


@pytest.fixture(scope="session")
def site(folder: Path, dns: tuple[Knot, Unbound]) -> Iterator[Site]:
    knot, unbound = dns
    ca = authority("Site Test CA")
    with FreeRadius(folder / "radius", unbound.port, POLICY, [ca]) as radius:
        yield Site(folder, knot, unbound, radius, ca)


@pytest.fixture(scope="session")
def own_servers(folder: Path, dns: tuple[Knot, Unbound]) -> Iterator[OwnServers]:
    knot, unbound = dns
    ca = authority("CA of own servers")
    name = f"own.camera._device.{ZONE}"
    device = ca.issue(name)
    knot.add_tlsa(ZONE, name, str(device.tlsa()), 3600)
    with contextlib.ExitStack() as stack:
        yield OwnServers(folder, unbound.port, ca, device, stack)

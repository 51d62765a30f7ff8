"""A second site for the tests of this folder, with trust-sync and without any known device or CA."""

from __future__ import annotations

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
from tests.harness.pki import Identity
from tests.harness.trust_sync import TrustSync, WebServer
from tests.harness.unbound import Unbound

ZONE = "iot.example"
# The authority hosts of identity domains `_NAME.iot.example` that lead to the web server.
GOOD_HOSTS = ["device", "roam", "slow", "big", "wrong", "moved", "ender", "flood"]
POLICY = """\
version: 1
rules:
  - name: denied
    identity: ["**._denied.iot.example"]
    deny: true
  - name: everything
    identity: ["**.iot.example"]
    pkix_cd: true
    grant: {vlan: 42, session_timeout: 8h}
"""

_numbers = itertools.count(1)


@dataclass
class Site:
    """The running daemons, and devices that authenticate."""

    folder: Path
    knot: Knot
    unbound: Unbound
    web: WebServer
    radius: FreeRadius
    sync: TrustSync
    _peers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def name(self, domain: str = "_device") -> str:
        """A device name that no other test uses."""
        return f"d{next(_numbers)}.{domain}.{ZONE}"

    def publish(self, name: str, *records: Any, ttl: int = 60) -> None:
        for record in records:
            self.knot.add_tlsa(ZONE, name, str(record), ttl)

    def authenticate(self, device: Identity, identity: str, tls: str = "1.3", **options: Any) -> EapResult:
        peer = write_peer_config(
            self.folder / "peers",
            device,
            identity=identity,
            server_ca=self.radius.server_ca_file,
            tls=tls,
            name=f"p{next(self._peers)}",
        )
        return authenticate(self.radius, peer, **options)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder that the server's user may enter. pytest's own folder denies that."""
    path = Path(tempfile.mkdtemp(prefix="sync-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def dns(folder: Path) -> Iterator[tuple[Knot, Unbound]]:
    records = "".join(f"{host} A 127.0.0.1\nkeep._{host} TLSA 3 1 1 {'00' * 32}\n" for host in GOOD_HOSTS)
    # Targets of hostile zones: loopback, private networks, the same behind IPv6 or NAT64, and a mixture.
    targets = {
        "private": "A 10.0.0.1",
        "linklocal": "A 169.254.169.254",
        "loopsix": "AAAA ::1",
        "mapped": "AAAA ::ffff:10.0.0.1",
        "nat": "AAAA 64:ff9b::a00:1",
        "unique": "AAAA fd00::1",
    }
    records += "".join(f"{host} {target}\nkeep._{host} TLSA 3 1 1 {'00' * 32}\n" for host, target in targets.items())
    records += f"both A 127.0.0.1\nboth A 10.0.0.1\nkeep._both TLSA 3 1 1 {'00' * 32}\n"
    with Knot(folder / "knot", [Zone(ZONE, records)]) as knot:
        stubs = {ZONE: ("127.0.0.1", knot.port)}
        extra = "    private-address: 192.0.2.0/24\n"
        with Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE), extra=extra) as unbound:
            yield knot, unbound


@pytest.fixture(scope="session")
def web(folder: Path) -> Iterator[WebServer]:
    with WebServer(folder / "web", [f"{host}.{ZONE}" for host in GOOD_HOSTS] + ["127.0.0.1.nip.example"]) as server:
        yield server


@pytest.fixture(scope="session")
def site(folder: Path, dns: tuple[Knot, Unbound], web: WebServer) -> Iterator[Site]:
    knot, unbound = dns
    sync_folder = folder / "sync"
    radius = FreeRadius(
        folder / "radius",
        unbound.port,
        POLICY,
        hint_socket=sync_folder / "run" / "trust-sync.sock",
        debug=True,
    )
    # The default of 0.3 s is for a machine that is not busy.
    radius.prepare()
    radius.config_file.write_text(radius.config_file.read_text().replace("# wait = 0.3", "wait = 1.0"))
    sync = TrustSync(
        sync_folder,
        radius.config_file,
        f"[discovery]\nallow_networks = ['127.0.0.0/8']\nport = {web.port}\nca_file = '{web.ca_file}'\ntimeout = 2.0\n"
        "negative_ttl = 2.0\nrate = 60.0\nrate_per_domain = 20.0\n",
    )
    with sync, radius:
        yield Site(folder, knot, unbound, web, radius, sync)

"""A site with an honest and a hostile registry, and real daemons around one worker."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dns.name

from tests.fault.trust_sync.nas_farm import NasFarm
from tests.harness.dns_delay import DnsDelay
from tests.harness.knot import Knot, Zone
from tests.harness.process import wait_for
from tests.harness.trust_sync import TrustSync, WebServer
from tests.harness.unbound import Unbound

HONEST, HOSTILE = "honest.example", "hostile.example"
SCHEMA = Path("/etc/freeradius/3.0/mods-config/sql/main/sqlite/schema.sql")
POLICY = f"version: 1\nrules:\n  - {{name: all, identity: ['**.{HONEST}', '**.{HOSTILE}'], grant: {{vlan: 1}}}}\n"
# MemoryMax of the systemd unit.
MEMORY_OCTETS = 512 * 1024 * 1024
_ROW = "acctsessionid, acctuniqueid, username, nasipaddress, callingstationid, acctstarttime"


def tlsa(number: int) -> str:
    return f"3 1 1 {number:064x}"


@dataclass
class Neighbours:
    """The daemons, the two registries, and the sessions in the accounting database."""

    folder: Path
    knot: Knot
    unbound: Unbound
    relay: DnsDelay
    honest: WebServer
    hostile: WebServer
    farm: NasFarm
    _rows: int = field(default=0)

    @property
    def database(self) -> Path:
        return self.folder / "radacct.db"

    def sync(self, name: str, more: str = "", *, hostile: str = "", registries: bool = True) -> TrustSync:
        """A worker that follows both registries. hostile: further settings of the hostile one."""
        module = self.folder / "dane-radius.toml"
        (self.folder / "policy.yaml").write_text(POLICY)
        module.write_text(
            f'policy = "{self.folder}/policy.yaml"\nanchors = "{self.folder}/anchors-{name}"\n'
            f'control_socket = "{self.folder}/none.sock"\n[resolver]\nport = {self.unbound.port}\n'
        )
        parts = [(self.honest, HONEST, ""), (self.hostile, HOSTILE, hostile)] if registries else []
        return TrustSync(
            self.folder / name,
            module,
            "".join(
                f"[[registry]]\nname = '{domain.split('.')[0]}'\nurl = 'https://localhost:{server.port}'\n"
                f"api_key_file = '{server.key_file}'\nca_file = '{server.ca_file}'\ndomains = ['{domain}']\n"
                f"wait = 20\n{extra}\n"
                for server, domain, extra in parts
            )
            + f"[sessions]\ndatabase = 'sqlite:///{self.database}'\npoll = 1.0\n"
            f"[unbound]\ncontrol_socket = '{self.unbound.control_socket}'\n{self.farm.settings}{more}",
        )

    def publish(self, zone: str, names: Iterable[str]) -> None:
        """Publish a TLSA record for each name."""
        for some in _chunks(list(names), 500):
            update = self.knot.update(zone)
            for number, name in enumerate(some, 1):
                update.add(dns.name.from_text(name), 3600, "TLSA", tlsa(number))
            self.knot.send(update)

    def withdraw(self, zone: str, names: Iterable[str]) -> None:
        for some in _chunks(list(names), 500):
            update = self.knot.update(zone)
            for name in some:
                update.delete(dns.name.from_text(name), "TLSA")
            self.knot.send(update)

    def admit(self, names: Iterable[str], nases: list[str] | None = None) -> list[str]:
        """Add one live session for each name, distributed over the NASes. Returns the Acct-Session-Ids."""
        nases = nases or self.farm.addresses
        rows = []
        for name in names:
            self._rows += 1
            number = self._rows
            rows.append((f"S{number}", f"u{number}", name, nases[number % len(nases)], f"02-{number:06x}", _NOW))
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            # The columns are fixed. Values are passed as parameters.
            connection.executemany(f"INSERT INTO radacct ({_ROW}) VALUES (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
        return [row[0] for row in rows]

    def clear(self) -> None:
        """No sessions."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("DELETE FROM radacct")

    def revoke(self, name: str, session: str) -> float:
        """Revoke an honest device. Returns the seconds until its NAS receives the request."""
        self.withdraw(HONEST, [name])
        began = time.monotonic()
        self.honest.announce("device.revoked", name=name, domain=HONEST)
        wait_for(lambda: session in self.farm.arrived, f"the NAS to be asked for {name}", timeout=60, interval=0.001)
        return self.farm.arrived[session] - began


_NOW = "2026-01-01 00:00:00"


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextlib.contextmanager
def neighbours(nases: int = 20) -> Iterator[Neighbours]:
    """A site with both registries. The zone of the hostile one is behind a relay that delays or drops queries."""
    folder = Path(tempfile.mkdtemp(prefix="neighbours-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # Keeps the label above the devices in existence, even without any device. Resolvers would cache its absence.
        zones = [Zone(zone, f"keep._device TLSA 3 1 1 {'00' * 32}\n") for zone in (HONEST, HOSTILE)]
        knot = stack.enter_context(Knot(folder / "knot", zones))
        relay = stack.enter_context(DnsDelay(knot.port))
        unbound = stack.enter_context(
            Unbound(
                folder / "unbound",
                {HONEST: ("127.0.0.1", knot.port), HOSTILE: (relay.address, relay.port)},
                knot.trust_anchors(HONEST) + knot.trust_anchors(HOSTILE),
            )
        )
        honest = stack.enter_context(WebServer(folder / "honest", ["localhost"]))
        hostile = stack.enter_context(WebServer(folder / "hostile", ["localhost"]))
        farm = stack.enter_context(NasFarm(nases))
        with contextlib.closing(sqlite3.connect(folder / "radacct.db")) as connection:
            connection.executescript(SCHEMA.read_text())
        yield Neighbours(folder, knot, unbound, relay, honest, hostile, farm)


def resident_octets(pid: int) -> int:
    """The peak resident memory of a process (proc(5), VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no VmHWM")

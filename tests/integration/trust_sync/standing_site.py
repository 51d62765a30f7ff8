"""An operations service as a process, and RADIUS nodes that follow it: module, worker, accounting, and a NAS."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.eap import EapResult, authenticate, next_station, write_peer_config
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.pki import Identity
from tests.harness.process import Daemon, free_port, run, start, wait_for
from tests.harness.trust_sync import TrustSync
from tests.harness.unbound import Unbound
from tests.integration.trust_sync.radius_nas import DAS_SECRET, RadiusNas

ZONE = "iot.example"
HOME, QUARANTINE, WAITING = "42", "666", "77"
POLICY = f"""\
version: 2
zones:
  home: {{vlan: {HOME}}}
  quarantine: {{vlan: {QUARANTINE}, description: Reaches the update server only, session: {{timeout: 10m}}}}
  waiting: {{vlan: {WAITING}, session: {{timeout: 10m}}}}
standing: {{quarantined: {{zone: quarantine}}, pending: {{zone: waiting}}}}
rules:
  - {{name: asked, identity: ["*.asked._device.{ZONE}"], approval: required, zone: home}}
  - {{name: everything, identity: ["**.{ZONE}"], zone: home}}
"""
_COMMAND = Path(sys.executable).with_name("dane-operations")


def nas_address(number: int) -> str:
    """A loopback address for a NAS, whose port is fixed. Test runs side by side have different ones."""
    process = os.getpid()
    return f"127.{64 + process % 128}.{process // 128 % 256}.{number}"


@dataclass
class Operations:
    """The operations service."""

    folder: Path
    policy: Path
    port: int = field(default_factory=free_port)
    daemon: Daemon | None = None

    @property
    def ca_file(self) -> Path:
        return self.folder / "state" / "tls" / "ca.pem"

    @property
    def config(self) -> Path:
        return self.folder / "operations.toml"

    def __enter__(self) -> Operations:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f'[operations]\nstate_dir = "{self.folder}/state"\nlisten = "127.0.0.1:{self.port}"\n'
            f'policy = "{self.policy}"\n'
        )
        return self.start()

    def start(self) -> Operations:
        self.daemon = start(
            "dane-operations",
            [_COMMAND, "serve", "--config", self.config],
            log=self.folder / "operations.log",
            ready=self._answers,
            timeout=30,
        )
        return self

    def _answers(self) -> bool:
        shown = ["curl", "-sSf", "--cacert", str(self.ca_file), f"https://127.0.0.1:{self.port}/health"]
        return subprocess.run(shown, capture_output=True, check=False).returncode == 0

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.daemon:
            self.daemon.stop()
            self.daemon = None

    def __call__(self, command: str, *arguments: str) -> str:
        """Run a command beside the service. Returns what it prints."""
        return run([_COMMAND, *command.split(), *arguments, "--config", self.config])

    def key_for(self, node: str) -> Path:
        path = self.folder / f"{node}.key"
        if not path.exists():
            scopes = ["--scope", "feed:read", "--scope", "node:write", "--node", node]
            self("key add", f"node-{node}", *scopes, "--out", str(path))
        return path


@dataclass
class Node:
    """A RADIUS node. nas: accepts Disconnect- and CoA-Requests; None: another one does, see `nas_settings`."""

    name: str
    folder: Path
    unbound: Unbound
    operations: Operations
    address: str
    coa: bool = False

    def __post_init__(self) -> None:
        self.radius = FreeRadius(self.folder / "radius", self.unbound.port, POLICY, accounting="sqlite")
        self.nas = RadiusNas(self.folder / "nas", self.address)
        self.sync = TrustSync(self.folder / "sync", self.radius.config_file, self._settings())
        self.nas_settings = (
            f"[[nas]]\naddress = '{self.address}'\nsecret = '{DAS_SECRET}'\ncoa = {str(self.coa).lower()}\n"
        )
        self._peers = 0

    @property
    def standing(self) -> Path:
        return self.folder / "standing"

    def _settings(self) -> str:
        return (
            f"[operations]\nurl = 'https://127.0.0.1:{self.operations.port}'\nnode = '{self.name}'\n"
            f"api_key_file = '{self.operations.key_for(self.name)}'\nca_file = '{self.operations.ca_file}'\nwait = 5\n"
            f"report_interval = 0.2\n[sessions]\ndatabase = 'sqlite:///{self.radius.accounting_db}'\npoll = 0.5\n"
        )

    def prepare(self) -> None:
        self.radius.prepare()
        config = self.radius.config_file
        config.write_text(f'standing = "{self.standing}"\n' + config.read_text())

    def start(self, stack: contextlib.ExitStack, *, with_nas: bool = True) -> None:
        if not self.radius.raddb.exists():
            self.prepare()
        self.sync.settings = self.nas_settings + self._settings()
        # The server makes the accounting database, which no reader may lock at that moment.
        stack.enter_context(self.radius)
        stack.enter_context(self.sync)
        if with_nas:
            stack.enter_context(self.nas)

    def peer(self, device: Identity, name: str) -> Path:
        return write_peer_config(
            self.folder / "peers",
            device,
            identity=f"anonymous@{ZONE}",
            server_ca=self.radius.server_ca_file,
            name=name.split(".")[0],
        )

    def authenticate(self, peer: Path, station: str | None = None) -> EapResult:
        return authenticate(self.radius, peer, station=station or next_station(), nas=self.name)

    def vlan(self, peer: Path) -> str | None:
        """The VLAN that a device gets now; None: it is refused."""
        result = self.authenticate(peer)
        # eapol_test prints the octets.
        return bytes.fromhex(result.text("Tunnel-Private-Group-Id") or "").decode() if result.accepted else None

    def account(self, status: str, name: str, session: str, station: str = "02-00-00-00-00-77") -> None:
        """Send a NAS's accounting request (RFC 2866) by radclient."""
        attributes = {
            "Acct-Status-Type": status, "User-Name": f'"{name}"', "Acct-Session-Id": f'"{session}"',
            "NAS-IP-Address": self.address, "NAS-Port": "1", "Calling-Station-Id": f'"{station}"',
            "Called-Station-Id": '"00-00-00-00-00-01:iot"', "NAS-Port-Type": "Wireless-802.11",
        }  # fmt: skip
        text = ", ".join(f"{key} = {value}" for key, value in attributes.items())
        run(["radclient", "-x", f"127.0.0.1:{self.radius.acct_port}", "acct", SECRET], stdin=text + "\n")

    def live(self, name: str) -> int:
        with contextlib.closing(sqlite3.connect(self.radius.accounting_db)) as database:
            query = "SELECT count(*) FROM radacct WHERE username = ? AND acctstoptime IS NULL"
            return int(database.execute(query, [name]).fetchone()[0])

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sync.status()["operations"]
        return found

    def wait_in_step(self) -> None:
        """Until the journal is there, and the module has read it."""
        wait_for(lambda: self.status()["usable"], f"the journal of {self.name}", timeout=20)
        wait_for(lambda: self.radius.metric("dane_radius_standing_available") == 1, "the module to read it", timeout=10)


def seen(operations: Operations, name: str) -> dict[str, Any]:
    """What the inventory says of a device; empty: nothing."""
    try:
        found: dict[str, Any] = json.loads(operations("show", name, "--json"))
    except Exception:
        return {}
    return found

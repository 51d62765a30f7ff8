"""The network demo's world: a registry, its parent zone, and two sites of two operators who have never met."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dns.name

from dane_radius.local.control_socket import ask
from tests.harness.device import DeviceNetwork
from tests.harness.eap import authenticate
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, authority
from tests.harness.process import run, wait_for
from tests.harness.prometheus import Prometheus
from tests.harness.switch import Cable, Switch
from tests.harness.trust_sync import TrustSync
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.parts import Registry

MAKER, HOME = "maker.example", "home.example"
CAMERA = "02:00:00:00:c0:01"
FLEET = 3
TTL = 1

HOUSE_POLICY = f"""\
version: 1
networks:
  wired: {{wired: true}}
rules:
  - name: my-devices
    identity: ["**._device.{HOME}"]
    networks: [wired]
    pkix_cd: true
    grant: {{vlan: 30, session_timeout: 8h}}
  - name: bought-devices
    identity: ["**._device.{MAKER}"]
    networks: [wired]
    pkix_cd: true
    grant: {{vlan: 42, session_timeout: 8h}}
"""
OFFICE_POLICY = f"""\
version: 1
rules:
  - name: visiting-devices
    identity: ["**._device.{MAKER}"]
    pkix_cd: true
    grant: {{vlan: 66, session_timeout: 1h}}
"""


@dataclass
class Site:
    """One operator's network: a resolver, a RADIUS server with trust-sync, and a switch.

    The camera's cable is in port 1 of each switch. At the office, the impostors' are in ports 2 and 3.
    """

    name: str
    folder: Path
    unbound: Unbound
    radius: FreeRadius
    sync: TrustSync
    switch: Switch

    def decisions(self, name: str) -> list[dict[str, Any]]:
        """The decision log's lines about a device."""
        return [line for line in self.radius.decisions() if line["name"] == name]

    def wait_decision(self, name: str, count: int) -> dict[str, Any]:
        """Until the log has `count` lines about a device; returns the newest."""
        wait_for(lambda: len(self.decisions(name)) >= count, f"{self.name} to decide about {name}")
        return self.decisions(name)[-1]


class Joining:
    """`iot-safe-sim join` as the device runs it, with the states that it reports."""

    def __init__(self, device: DeviceNetwork, interface: str, state: Path, site: Site) -> None:
        self.states: list[dict[str, Any]] = []
        self.errors = ""
        self._site = site
        command = [
            *device.inside(), sys.executable, "-m", "iot_safe_sim.cli", "join", "--json", "--interface", interface,
            "--state", str(state), "--radius-name", f"radius.{site.name}.example",
            "--radius-ca", str(site.radius.server_ca_file),
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, name=f"join {interface}")
        self._reader.start()

    def _read(self) -> None:
        if self._process.stdout is None or self._process.stderr is None:
            raise RuntimeError("the pipes were asked for")
        for line in self._process.stdout:
            self.states.append(json.loads(line))
        self.errors = self._process.stderr.read()

    def wait_joined(self) -> dict[str, Any]:
        """Until the device reports that it has joined; returns that report."""
        wait_for(
            lambda: self._process.poll() is not None or any(s["state"] == "joined" for s in self.states),
            f"the device to join {self._site.name}",
            30,
        )
        for state in self.states:
            if state["state"] == "joined":
                return state
        self._reader.join(5)
        raise AssertionError(f"the device did not join: {self.errors}")

    def leave(self) -> None:
        """Log off and end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(5)


@dataclass
class NetworkWorld:
    """Everything that runs."""

    folder: Path
    registry: Registry
    parent: Knot
    house: Site
    office: Site
    camera: DeviceNetwork
    elsewhere: Authority
    prometheus: Prometheus
    joined: Joining | None = None

    @property
    def card(self) -> Path:
        """The camera's simulated SIM."""
        return self.folder / "camera"

    def device_command(self, *arguments: str, timeout: float = 120) -> Any:
        """One `iot-safe-sim` command with --json; for a fleet, a list. Raises RuntimeError when it fails."""
        command = [sys.executable, "-m", "iot_safe_sim.cli", *arguments, "--json"]
        lines = run(command, timeout=timeout).splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return found[0] if len(found) == 1 else found

    def enroll(self, bundle: str) -> Any:
        """Enroll the camera, and wait until the house's resolver has validated its record."""
        resolver = f"127.0.0.1:{self.house.unbound.port}"
        return self.device_command("enroll", "--state", str(self.card), "--bundle", bundle, "--resolver", resolver)

    def enroll_fleet(self, bundles: list[str]) -> Any:
        """The same for several small devices at once."""
        path = self.folder / "fleet.jsonl"
        path.write_text("".join(f"{bundle}\n" for bundle in bundles))
        return self.device_command(
            "enroll", "--state", str(self.folder / "fleet"), "--bundles", str(path), "--key-store", "software",
            "--resolver", f"127.0.0.1:{self.house.unbound.port}",
        )  # fmt: skip

    def try_fleet(self) -> list[dict[str, Any]]:
        """Let each device of the fleet authenticate at the house; returns the decisions, one for each device."""
        found: list[dict[str, Any]] = []
        for state in sorted((self.folder / "fleet").iterdir()):
            result = authenticate(
                self.house.radius, self._peer(state), ssid=None, nas="house-switch", timeout=15, extra=("-N61:d:15",)
            )
            found.append({"accepted": result.accepted, "station": result.station})
        # The server logs a decision a moment later, and none about a certificate that OpenSSL refuses.
        for entry in found:
            with contextlib.suppress(AssertionError):
                entry["reason"] = self.house.radius.decision_for(entry["station"], timeout=1)["reason"]
        return found

    def _peer(self, state: Path) -> Path:
        """What `join` would give wpa_supplicant, for eapol_test."""
        text = run(
            [
                sys.executable, "-m", "iot_safe_sim.cli", "join", "--print-config", "--interface", "eth0",
                "--state", state, "--radius-name", f"radius.{self.house.name}.example",
                "--radius-ca", self.house.radius.server_ca_file,
            ]
        )  # fmt: skip
        config = state / "peer.conf"
        config.write_text(re.sub(r"^ctrl_interface=.*$", "", text, flags=re.MULTILINE))
        return config

    def delegate(self, zone: str, ds: str) -> None:
        """What the registry's operator asks of the parent: these DS records and no others."""
        update = self.parent.update("example")
        name = dns.name.from_text(zone)
        update.delete(name, "DS")
        update.add(name, TTL, "DS", ds)
        self.parent.send(update)

    def forget(self, zone: str) -> None:
        """Have both sites ask again, as they would by themselves once the TTLs end."""
        for site in (self.house, self.office):
            site.unbound.control(f"flush_zone {zone}")
            ask(str(site.radius.control_socket), "flush", name=zone, below=True)


def _ds(registry: Registry, zone: str) -> str:
    """The DS record (SHA-256) of a zone's present key."""
    lines = run(["keymgr", "-c", registry.knot.config, zone, "ds"]).splitlines()
    return next(line.split(" DS ", 1)[1] for line in lines if line.split(" DS ", 1)[1].split()[2] == "2")


@contextlib.contextmanager
def build(folder: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[NetworkWorld]:
    """Start everything; the end of the block ends it."""
    with contextlib.ExitStack() as stack:
        say("the registry, its signed zones and their parent")
        registry = Registry(
            folder / "registry",
            options={
                "registry": {"domain": MAKER},
                "publication": {"ttl": TTL},
                "signer": {"address": "127.0.0.1"},
            },
        ).prepare()
        stack.callback(registry.knot.stop)
        registry.knot.start(MAKER)
        stack.callback(registry.stop)
        registry.start()
        (registry.folder / "anchor.pem").write_text(registry.run("anchor").stdout)
        registry.run("domain", "add", HOME)
        delegations = "".join(
            f"{zone.split('.')[0]} NS ns.{zone}.\nns.{zone}. A 127.0.0.1\n{zone}. DS {_ds(registry, zone)}\n"
            for zone in (MAKER, HOME)
        )
        parent = stack.enter_context(Knot(folder / "parent", [Zone("example", delegations, ttl=TTL)]))
        public_ca = authority("Public CA")
        camera = stack.enter_context(DeviceNetwork(CAMERA))
        elsewhere = authority("CA of elsewhere.example")
        sites = [
            stack.enter_context(_site(folder, name, registry, parent, public_ca, camera, elsewhere, say))
            for name in ("house", "office")
        ]
        prometheus = stack.enter_context(_prometheus(folder, registry, sites))
        world = NetworkWorld(folder, registry, parent, sites[0], sites[1], camera, elsewhere, prometheus)
        try:
            yield world
        finally:
            if world.joined:
                world.joined.leave()


def _prometheus(folder: Path, registry: Registry, sites: list[Site]) -> Prometheus:
    targets = {"iot-registry": f"{registry.url}/metrics"}
    for site in sites:
        targets[f"{site.name}-radius"] = f"http://127.0.0.1:{site.radius.metrics_port}/metrics"
        targets[f"{site.name}-trust-sync"] = f"http://127.0.0.1:{site.sync.metrics_port}/metrics"
    return Prometheus(folder / "prometheus", targets, registry.anchor)


@contextlib.contextmanager
def _site(
    folder: Path,
    name: str,
    registry: Registry,
    parent: Knot,
    public_ca: Authority,
    camera: DeviceNetwork,
    elsewhere: Authority,
    say: Callable[[str], None],
) -> Iterator[Site]:
    say(f"the {name}: resolver, RADIUS server, trust-sync, switch")
    house = name == "house"
    folder = folder / name
    with contextlib.ExitStack() as stack:
        stubs = dict.fromkeys((MAKER, HOME), ("127.0.0.1", registry.dns_port))
        stubs["example"] = ("127.0.0.1", parent.port)
        # The only trust anchor that every site configures is the key of the parent zone.
        unbound = stack.enter_context(Unbound(folder / "unbound", stubs, parent.trust_anchors("example")))
        radius = FreeRadius(
            folder / "radius",
            unbound.port,
            HOUSE_POLICY if house else OFFICE_POLICY,
            anchors=[] if house else [elsewhere],
            accounting="sqlite",
            hint_socket=folder / "sync" / "run" / "trust-sync.sock",
        )
        server_name = f"radius.{name}.example"
        radius.server_ca = public_ca
        radius.server = public_ca.issue(server_name, common_name=server_name, eku=None)
        vlans = {42: "10.142.0.1/24", 30: "10.130.0.1/24"} if house else {66: "10.166.0.1/24"}
        cables = [Cable(camera, f"{name}0")]
        if not house:
            impostors = [DeviceNetwork(f"02:00:00:00:bd:0{number}") for number in (1, 2)]
            cables += [Cable(stack.enter_context(impostor), "eth0") for impostor in impostors]
        switch = Switch(
            folder / "switch",
            radius.auth_port,
            radius.acct_port,
            name=f"{name}-switch",
            cables=cables,
            vlans=vlans,
        )
        _prepare_radius(radius, switch)
        # Before the server: it listens on every address, and must find this one to answer from.
        stack.enter_context(switch)
        sync = TrustSync(
            folder / "sync", radius.config_file, _sync_settings(folder, name, registry, radius, switch, unbound)
        )
        stack.enter_context(sync)
        stack.enter_context(radius)
        yield Site(name, folder, unbound, radius, sync, switch)


def _prepare_radius(radius: FreeRadius, switch: Switch) -> None:
    radius.prepare()
    radius.add_client(switch.name, switch.nas_address, switch.secret)
    cui_key = radius.folder / "etc" / "cui.key"
    cui_key.write_bytes(os.urandom(16).hex().encode())
    cui_key.chmod(0o640)
    os.chown(cui_key, 0, radius.config_file.stat().st_gid)
    settings = radius.config_file.read_text()
    settings = settings.replace('# cui_key_file = "/etc/dane-radius/cui.key"', f'cui_key_file = "{cui_key}"')
    # A small host that runs two networks needs more than the default of 0.3 s for the first packet.
    radius.config_file.write_text(settings.replace("# wait = 0.3", "wait = 1.0"))


def _sync_settings(
    folder: Path, name: str, registry: Registry, radius: FreeRadius, switch: Switch, unbound: Unbound
) -> str:
    settings = f"[discovery]\nallow_networks = ['127.0.0.0/8']\nport = {registry.port}\nca_file = '{registry.anchor}'\n"
    if name == "house":
        key_file = folder / "api.key"
        key_file.write_text(registry.key("feed:read"))
        key_file.chmod(0o600)
        settings = (
            f"[[registry]]\nname = 'maker'\nurl = '{registry.url}'\ndomains = ['{MAKER}', '{HOME}']\n"
            f"api_key_file = '{key_file}'\nca_file = '{registry.anchor}'\n" + settings
        )
    return settings + (
        f"[[nas]]\naddress = '{switch.nas_address}'\nsecret = '{switch.das_secret}'\n"
        f"[sessions]\ndatabase = 'sqlite:///{radius.accounting_db}'\npoll = 0.2\nrecheck_min = 0.5\n"
        f"[unbound]\ncontrol_socket = '{unbound.control_socket}'\n"
    )

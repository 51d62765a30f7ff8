"""Quarantine, release and approval of a device on a switch port: hostapd, wpa_supplicant, and what it can reach."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.eap import next_station
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.process import Daemon, run, wait_for
from tests.harness.switch import Switch
from tests.harness.unbound import Unbound
from tests.integration.trust_sync.standing_site import HOME, POLICY, QUARANTINE, WAITING, ZONE, Node, Operations

pytestmark = pytest.mark.daemons

HOSTS = {int(HOME): "10.42.0.1/24", int(QUARANTINE): "10.66.0.1/24", int(WAITING): "10.77.0.1/24"}


@dataclass
class House:
    """A node whose NAS is a switch."""

    folder: Path
    knot: Knot
    operations: Operations
    node: Node
    switch: Switch

    def plug_in(self, name: str) -> Daemon:
        """Start a device, which joins by itself and again after each end of its session."""
        device = self.ca.issue(name)
        self.knot.add_tlsa(ZONE, name, str(device.tlsa()), 60)
        peer = self.node.peer(device, name)
        peer.write_text(f"ctrl_interface={self.switch.folder}/wpa\nap_scan=0\nfast_reauth=0\n" + peer.read_text())
        return self.switch.attach(peer, next_station())

    def __post_init__(self) -> None:
        self.ca = authority("House CA")
        self.node.radius.add_anchor(self.ca)

    def in_vlan(self, vlan: str, timeout: float = 60.0) -> None:
        wait_for(lambda: self.switch.vlan() == int(vlan), f"the port to be in VLAN {vlan}", timeout)

    def reaches_only(self, vlan: str) -> None:
        wait_for(lambda: self.reached() == {int(vlan)}, f"the device to reach VLAN {vlan} alone", timeout=20)

    def reached(self) -> set[int]:
        """The VLANs whose host the device reaches now."""
        # The switch answers ARP for all of its addresses in every VLAN. A device with DHCP would forget them by itself.
        run(["ip", "-n", self.switch.device.namespace, "neigh", "flush", "dev", "eth0"])
        return {vlan for vlan, host in HOSTS.items() if self.switch.device.reaches(host.partition("/")[0])}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="house-test-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        zone = Zone(ZONE, f"keep._device TLSA 3 1 1 {'00' * 32}\nkeep.asked._device TLSA 3 1 1 {'00' * 32}\n")
        knot = stack.enter_context(Knot(folder / "knot", [zone]))
        stubs = {ZONE: ("127.0.0.1", knot.port)}
        unbound = stack.enter_context(Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE)))
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        operations = stack.enter_context(Operations(folder / "operations", policy))
        node = Node("house", folder / "node", unbound, operations, "127.0.0.21")
        node.prepare()
        switch = Switch(folder / "switch", node.radius.auth_port, node.radius.acct_port, vlans=HOSTS)
        node.radius.add_client("switch", switch.nas_address)
        node.nas_settings = f"[[nas]]\naddress = '{switch.nas_address}'\nsecret = '{switch.das_secret}'\n"
        made = House(folder, knot, operations, node, switch)
        node.start(stack, with_nas=False)
        node.wait_in_step()
        stack.enter_context(switch)
        yield made


def test_a_device_is_isolated_at_once_and_comes_back_after_its_release(house: House) -> None:
    name = f"cam1._device.{ZONE}"
    supplicant = house.plug_in(name)
    try:
        house.in_vlan(HOME)
        house.reaches_only(HOME)
        wait_for(lambda: house.node.live(name) == 1, "the accounting record")
        began = time.monotonic()
        house.operations("quarantine", name, "--reason", "scans the network")
        # The port may have closed and opened again before the command has ended.
        house.in_vlan(QUARANTINE)
        print(f"quarantine to the other VLAN: {time.monotonic() - began:.3f} s, with the start of the command")
        house.reaches_only(QUARANTINE)
        wait_for(lambda: house.node.live(name) == 1, "the accounting record")
        house.operations("release", name, "--reason", "new firmware 2.1 installed")
        house.in_vlan(HOME)
        house.reaches_only(HOME)
        # hostapd took each request at once.
        over = house.node.sync.events("session over")
        assert [(line["cause"], line["how"]) for line in over] == [("standing", "ack")] * 2
        house.operations("block", name, "--reason", "stolen")
        house.switch.wait_closed(timeout=60)
        wait_for(lambda: house.switch.refusals() > 0, "the device to be refused", timeout=30)
        assert house.switch.vlan() is None
    finally:
        supplicant.stop()


def test_a_device_that_nobody_knows_waits_for_an_answer_which_moves_it(house: House) -> None:
    wait_for(lambda: not house.switch.stations(), "hostapd to forget the last device", timeout=30)
    name = f"cam2.asked._device.{ZONE}"
    supplicant = house.plug_in(name)
    try:
        house.in_vlan(WAITING)
        house.reaches_only(WAITING)
        wait_for(lambda: house.node.live(name) == 1, "the accounting record")
        wait_for(lambda: name in house.operations("questions", "--json"), "the question", timeout=20, interval=0.2)
        house.operations("approve", name, "--answer", "yes")
        house.in_vlan(HOME)
        house.reaches_only(HOME)
        assert name not in house.operations("questions", "--json")
    finally:
        supplicant.stop()

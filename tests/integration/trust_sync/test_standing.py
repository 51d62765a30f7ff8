"""The standing of devices on three RADIUS nodes: from `dane-operations` to module, NAS and the next admission."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, Identity, authority
from tests.harness.process import run, wait_for
from tests.harness.trust_sync import COMMAND
from tests.harness.unbound import Unbound
from tests.integration.trust_sync.standing_site import (
    HOME,
    POLICY,
    QUARANTINE,
    WAITING,
    ZONE,
    Node,
    Operations,
    nas_address,
)

pytestmark = pytest.mark.daemons

DANE_RADIUS = COMMAND.with_name("dane-radius")
NODES = {"one": False, "two": True, "three": False}
REQUESTS = {
    False: ["Received Disconnect-Request", "Sent Disconnect-ACK"],
    True: ["Received CoA-Request", "Sent CoA-ACK"],
}


@dataclass
class Site:
    """Three nodes: the NAS of the second one accepts CoA-Requests."""

    folder: Path
    knot: Knot
    operations: Operations
    nodes: list[Node]
    ca: Authority

    def device(self, name: str) -> Identity:
        device = self.ca.issue(name)
        self.knot.add_tlsa(ZONE, name, str(device.tlsa()), 60)
        return device


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="standing-test-"))
    folder.chmod(0o755)
    ca = authority("Standing CA")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        zone = Zone(ZONE, f"keep._device TLSA 3 1 1 {'00' * 32}\nkeep.asked._device TLSA 3 1 1 {'00' * 32}\n")
        knot = stack.enter_context(Knot(folder / "knot", [zone]))
        unbound = stack.enter_context(
            Unbound(folder / "unbound", {ZONE: ("127.0.0.1", knot.port)}, knot.trust_anchors(ZONE))
        )
        policy = folder / "policy.yaml"
        policy.write_text(POLICY)
        operations = stack.enter_context(Operations(folder / "operations", policy))
        nodes = []
        for number, (name, coa) in enumerate(NODES.items(), 1):
            node = Node(name, folder / name, unbound, operations, nas_address(number), coa)
            node.prepare()
            node.radius.add_anchor(ca)
            node.start(stack)
            nodes.append(node)
        for node in nodes:
            node.wait_in_step()
        yield Site(folder, knot, operations, nodes, ca)


def test_a_quarantine_reaches_live_sessions_and_the_next_admission_on_every_node(site: Site) -> None:
    name = f"cam1._device.{ZONE}"
    device = site.device(name)
    peers = {node.name: node.peer(device, name) for node in site.nodes}
    for node in site.nodes:
        assert node.vlan(peers[node.name]) == HOME
        node.account("Start", name, f"S-{node.name}")
    wait_for(lambda: all(node.live(name) == 1 for node in site.nodes), "the accounting records")
    places = {node.name: len(node.nas.text()) for node in site.nodes}

    def done(node: Node) -> bool:
        return len(node.nas.conversation(places[node.name])) >= 2

    began = time.monotonic()
    site.operations("quarantine", name, "--reason", "scans the network")
    command = time.monotonic() - began
    for node in site.nodes:
        wait_for(lambda node=node: done(node), f"the NAS of {node.name} to be asked", timeout=30, interval=0.01)
    took = time.monotonic() - began
    for node in site.nodes:
        wait_for(lambda node=node: node.sync.events("session over"), "the worker to know")
    own = [node.sync.events("session over")[-1]["seconds"] for node in site.nodes]
    print(f"quarantine on 3 nodes: {took:.3f} s from the start of the command, which ran for {command:.3f} s")
    print(f"from the worker's notice to the answer of the NAS: {own} s")
    for node in site.nodes:
        assert node.nas.conversation(places[node.name]) == REQUESTS[node.coa]
        # The session has ended, or is elsewhere; the device reconnects.
        assert node.vlan(peers[node.name]) == QUARANTINE
        node.account("Stop", name, f"S-{node.name}")
        node.account("Start", name, f"Q-{node.name}")
    wait_for(lambda: all(node.live(name) == 1 for node in site.nodes), "the accounting records")
    wait_for(lambda: all(not node.sync.status()["sessions"]["pending"] for node in site.nodes), "the workers to settle")
    places.update((node.name, len(node.nas.text())) for node in site.nodes)
    site.operations("release", name, "--reason", "new firmware")
    for node in site.nodes:
        wait_for(lambda node=node: done(node), f"the NAS of {node.name} to be asked", timeout=30, interval=0.01)
        assert node.vlan(peers[node.name]) == HOME
        node.account("Stop", name, f"Q-{node.name}")


def test_a_block_refuses_and_a_maker_that_is_approved_is_welcome(site: Site) -> None:
    node = site.nodes[0]
    blocked, asked = f"cam2._device.{ZONE}", f"cam3.asked._device.{ZONE}"
    peer, other = node.peer(site.device(blocked), blocked), node.peer(site.device(asked), asked)
    site.operations("block", blocked, "--reason", "stolen")
    wait_for(lambda: node.vlan(peer) is None, "the block", interval=0.1)
    wait_for(lambda: node.radius.decisions()[-1]["reason"] == "device_blocked", "the decision in the log")
    assert node.vlan(other) == WAITING
    site.operations("approve", ZONE, "--maker")
    wait_for(lambda: node.vlan(other) == HOME, "the approval", interval=0.1)
    site.operations("approve", ZONE, "--maker", "--withdraw")
    wait_for(lambda: node.vlan(other) == WAITING, "the withdrawal", interval=0.1)


def test_the_last_known_standing_stays_in_force_over_restarts_of_everything(site: Site) -> None:
    name = f"cam4._device.{ZONE}"
    node = site.nodes[2]
    peer = node.peer(site.device(name), name)
    site.operations("quarantine", name, "--reason", "test")
    wait_for(lambda: node.vlan(peer) == QUARANTINE, "the quarantine", interval=0.1)
    site.operations.stop()
    try:
        node.sync.stop()
        assert node.radius.daemon is not None
        node.radius.daemon.stop()
        node.radius.start()
        # The module alone has what it needs.
        assert node.vlan(peer) == QUARANTINE
        node.sync.start()
        wait_for(lambda: node.status()["failures"], "a failure to reach the service", timeout=20)
        assert node.status()["usable"]
        assert node.vlan(peer) == QUARANTINE
    finally:
        site.operations.start()
    site.operations("release", name, "--reason", "test")
    wait_for(lambda: node.vlan(peer) == HOME, "the release, once the service is back", timeout=60, interval=0.2)


def test_a_worker_that_is_killed_again_and_again_leaves_no_device_normal(site: Site) -> None:
    node = site.nodes[1]
    names = [f"k{number}._device.{ZONE}" for number in range(12)]
    peers = {name: node.peer(site.device(name), name) for name in names}
    for number, name in enumerate(names):
        site.operations("quarantine", name, "--reason", "test")
        if number % 3 == 2:
            assert node.sync.daemon is not None
            node.sync.daemon.kill()
            node.sync.start()
    for name in names:
        wait_for(
            lambda name=name: node.vlan(peers[name]) == QUARANTINE, f"{name} in quarantine", timeout=30, interval=0.1
        )
    assert node.status()["kept"] == 0


def test_what_the_nodes_see_reaches_the_service(site: Site) -> None:
    name = f"cam5._device.{ZONE}"
    device = site.device(name)
    for node in site.nodes:
        assert node.vlan(node.peer(device, name)) == HOME
        node.account("Start", name, f"R-{node.name}")

    def arrived() -> bool:
        shown = site.operations("show", name, "--json")
        return all(f'"{node.name}"' in shown for node in site.nodes)

    wait_for(lambda: name in site.operations("list", "--json"), "the decisions to arrive", timeout=20, interval=0.2)
    wait_for(arrived, "the sessions of all nodes", timeout=20, interval=0.2)
    for node in site.nodes:
        assert node.status()["reports"] == {"decisions": None, "sessions": None}
        assert node.status()["decisions_lost"] == 0


def test_the_commands_of_the_node_show_what_is_in_force(site: Site) -> None:
    node, name = site.nodes[0], f"cam7._device.{ZONE}"
    site.operations("watch", name, "--reason", "test")
    wait_for(lambda: node.status()["standing"]["watched"] == 1, "the change")
    text = run([COMMAND, "status", "--config", node.sync.config])
    assert f"operations https://127.0.0.1:{site.operations.port}: last reached" in text
    assert "1 watched" in text
    reply = json.loads(run([COMMAND, "standing", "adopt", "--config", node.sync.config, "--json"]))
    assert reply == {"kept": 0, "within_seconds": 5}
    shown = json.loads(run([DANE_RADIUS, "status", "--socket", node.radius.control_socket, "--json"]))["standing"]
    assert (shown["available"], shown["error"], shown["devices"]["watched"]) == (True, None, 1)
    node.sync.stop()
    try:
        site.operations("release", name, "--reason", "test")
        summary = json.loads(run([COMMAND, "once", "--config", node.sync.config, "--json"]))
        assert summary["failures"] == []
        after = json.loads(run([DANE_RADIUS, "status", "--socket", node.radius.control_socket, "--json"]))["standing"]
        assert "watched" not in after["devices"]
    finally:
        node.sync.start()


def test_a_maintenance_of_the_service_loses_no_decision(site: Site) -> None:
    name = f"cam6._device.{ZONE}"
    node = site.nodes[0]
    peer = node.peer(site.device(name), name)
    site.operations.stop()
    try:
        for _ in range(3):
            assert node.vlan(peer) == HOME
        wait_for(lambda: node.status()["reports"]["decisions"], "the failure to be noticed", timeout=20)
    finally:
        site.operations.start()
    wait_for(lambda: name in site.operations("list", "--json"), "the decisions to arrive", timeout=90, interval=0.5)

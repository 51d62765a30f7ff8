"""From the removal of a record to the end of the session at a real NAS."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dane_radius.core import AnchorSource
from tests.harness.eap import authenticate, write_peer_config
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, Identity, authority
from tests.harness.process import wait_for
from tests.harness.switch import Switch
from tests.harness.trust_sync import TrustSync, WebServer, anchor_json
from tests.harness.unbound import Unbound
from trust_sync.anchors import AnchorStore, parse_certificate

pytestmark = pytest.mark.daemons

ZONE = "iot.example"
DOMAIN = f"_device.{ZONE}"
POLICY = """\
version: 1
rules:
  - name: everything
    identity: ["**.iot.example"]
    grant: {vlan: 42, session_timeout: 8h}
"""


@dataclass
class Office:
    """A site with a switch, FreeRADIUS with accounting, and a registry."""

    folder: Path
    knot: Knot
    unbound: Unbound
    web: WebServer
    radius: FreeRadius
    wire: Switch
    ca: Authority

    def sync(self, settings: str = "", *, feed: bool = True, nas: str = "", name: str = "sync") -> TrustSync:
        registry = (
            f"[[registry]]\nname = 'test'\nurl = 'https://localhost:{self.web.port}'\n"
            f"api_key_file = '{self.web.key_file}'\nca_file = '{self.web.ca_file}'\ndomains = ['{ZONE}']\nwait = 5\n"
        )
        if not feed:
            # What a registry said before.
            with AnchorStore(self.radius.anchor_dir) as store:
                store.add(parse_certificate(self.ca.der), [ZONE], AnchorSource.REGISTRY, datetime.now(UTC))
        nas = nas or f"[[nas]]\naddress = '{self.wire.nas_address}'\nsecret = '{self.wire.das_secret}'\n"
        return TrustSync(
            self.folder / name,
            self.radius.config_file,
            f"{registry if feed else ''}{nas}[sessions]\ndatabase = 'sqlite:///{self.radius.accounting_db}'\n"
            f"poll = 0.2\nrecheck_min = 0.5\n[unbound]\ncontrol_socket = '{self.unbound.control_socket}'\n{settings}",
        )

    def device(self, name: str, ttl: int = 60) -> Identity:
        device = self.ca.issue(name)
        self.knot.add_tlsa(ZONE, name, str(device.tlsa()), ttl)
        return device

    def peer(self, device: Identity, name: str) -> Path:
        path = write_peer_config(
            self.folder / "peers",
            device,
            identity=f"anonymous@{ZONE}",
            server_ca=self.radius.server_ca_file,
            name=name.split(".")[0],
        )
        path.write_text(f"ctrl_interface={self.folder}/wpa\nap_scan=0\nfast_reauth=0\n" + path.read_text())
        return path

    def live(self, name: str) -> int:
        with contextlib.closing(sqlite3.connect(self.radius.accounting_db)) as database:
            query = "SELECT count(*) FROM radacct WHERE username = ? AND acctstoptime IS NULL"
            return int(database.execute(query, [name]).fetchone()[0])


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    folder = Path(tempfile.mkdtemp(prefix="revoke-test-"))
    folder.chmod(0o755)
    ca = authority("Office CA")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        zone = Zone(ZONE, f"device A 127.0.0.1\nkeep._device TLSA 3 1 1 {'00' * 32}\n")
        knot = stack.enter_context(Knot(folder / "knot", [zone]))
        stubs = {ZONE: ("127.0.0.1", knot.port)}
        unbound = stack.enter_context(Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE)))
        web = stack.enter_context(WebServer(folder / "web", ["localhost"]))
        web.anchors.append(anchor_json(ca, ZONE))
        radius = FreeRadius(folder / "radius", unbound.port, POLICY, accounting="sqlite")
        wire = Switch(folder / "wire", radius.auth_port, radius.acct_port, SECRET)
        radius.prepare()
        radius.add_client("wire", wire.nas_address)
        stack.enter_context(radius)
        stack.enter_context(wire)
        yield Office(folder, knot, unbound, web, radius, wire, ca)


def test_with_the_feed_removal_disconnects_at_once(office: Office) -> None:
    name = f"cam1.{DOMAIN}"
    device = office.device(name)
    with office.sync() as sync:
        wait_for(lambda: sync.status()["anchor_count"] == 1, "the registry's anchor")
        supplicant = office.wire.plug_in(office.peer(device, name), "cam1")
        try:
            wait_for(lambda: office.live(name) == 1, "the accounting record")
            wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
            before = office.wire.disconnections()
            began = time.monotonic()
            office.knot.delete_tlsa(ZONE, name)
            office.web.announce("device.revoked", name=name, domain=ZONE)
            wait_for(
                lambda: office.wire.disconnections() > before, "hostapd to end the session", timeout=20, interval=0.005
            )
            print(f"removal to disconnect: {time.monotonic() - began:.3f} s (TTL 60 s)")
            wait_for(lambda: sync.events("session over"), "the worker to know")
            assert sync.events("session over")[-1]["how"] == "ack"
            wait_for(lambda: office.live(name) == 0, "the accounting record to end", timeout=15)
            assert sync.status()["sessions"]["pending"] == []
        finally:
            supplicant.stop()


def test_without_a_feed_the_ttl_disconnects(office: Office) -> None:
    name = f"cam2.{DOMAIN}"
    device = office.device(name, ttl=1)
    with office.sync(feed=False, name="sync-ttl") as sync:
        supplicant = office.wire.plug_in(office.peer(device, name), "cam2")
        try:
            wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
            before = office.wire.disconnections()
            began = time.monotonic()
            office.knot.delete_tlsa(ZONE, name)
            wait_for(lambda: office.wire.disconnections() > before, "hostapd to end the session", timeout=20)
            print(f"removal to disconnect without feed: {time.monotonic() - began:.3f} s (TTL 1 s)")
        finally:
            supplicant.stop()


def test_a_nas_that_does_not_answer_is_tried_again_and_reported_over_a_restart(office: Office) -> None:
    name = f"cam3.{DOMAIN}"
    device = office.device(name)
    wrong = f"[[nas]]\naddress = '{office.wire.nas_address}'\nsecret = 'not the secret'\n"
    limits = "[disconnect]\ntimeout = 0.2\ntries = 2\nretry_min = 0.5\nretry_max = 1.0\n"
    sync = office.sync(limits, nas=wrong, name="sync-silent")
    with sync:
        wait_for(lambda: sync.status()["anchor_count"] == 1, "the registry's anchor")
        supplicant = office.wire.plug_in(office.peer(device, name), "cam3")
        try:
            wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
            office.knot.delete_tlsa(ZONE, name)
            office.web.announce("device.revoked", name=name, domain=ZONE)
            # hostapd silently drops a request with a wrong authenticator, as RFC 5176 requires.
            wait_for(lambda: [p for p in sync.status()["sessions"]["pending"] if p["attempts"] >= 2], "two attempts")
            assert sync.status()["sessions"]["pending"][0]["reply"].startswith("silent")
            assert office.live(name) == 1
        except BaseException:
            supplicant.stop()
            raise
    try:
        # The secret is corrected while the worker is stopped. It continues without another notice.
        before = office.wire.disconnections()
        again = office.sync(limits, feed=False, name="sync-silent")
        with again:
            wait_for(lambda: office.wire.disconnections() > before, "hostapd to end the session", timeout=20)
            wait_for(lambda: not again.status()["sessions"]["pending"], "nothing to be left")
    finally:
        supplicant.stop()


def test_a_changed_vlan_reaches_a_nas_that_takes_no_coa_as_a_disconnect(office: Office) -> None:
    """hostapd refuses the CoA-Request. After the Disconnect-Request, the device reconnects in its new VLAN."""
    name = f"cam6.{DOMAIN}"
    device = office.device(name)
    nas = f"[[nas]]\naddress = '{office.wire.nas_address}'\nsecret = '{office.wire.das_secret}'\ncoa = true\n"
    with office.sync(nas=nas, name="sync-coa") as sync:
        wait_for(lambda: sync.status()["anchor_count"] == 1, "the registry's anchor")
        supplicant = office.wire.plug_in(office.peer(device, name), "cam6")
        try:
            wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
            before = office.wire.disconnections()
            office.radius.write_policy(POLICY.replace("vlan: 42", "vlan: 43"))
            wait_for(lambda: office.wire.disconnections() > before, "hostapd to end the session", timeout=20)
            wait_for(lambda: sync.events("session over"), "the worker to know")
            assert sync.events("session over")[-1]["cause"] == "policy"
            assert sync.events("session over")[-1]["how"] == "ack"
            assert "Unsupported attribute 64 in CoA-Request" in office.wire.text()
            assert "(CoA-NAK)" in office.wire.text()
        finally:
            supplicant.stop()
            office.radius.write_policy(POLICY)


def test_a_dns_outage_ends_no_session_and_the_next_answer_does(office: Office) -> None:
    name = f"cam4.{DOMAIN}"
    device = office.device(name, ttl=1)
    with office.sync(feed=False, name="sync-outage") as sync:
        supplicant = office.wire.plug_in(office.peer(device, name), "cam4")
        try:
            wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
            before = office.wire.disconnections()
            office.unbound.stop()
            wait_for(lambda: len(sync.events("lookup not conclusive; retrying")) >= 1, "a look in vain", timeout=30)
            assert office.wire.disconnections() == before
            assert sync.status()["sessions"]["pending"] == []
            office.knot.delete_tlsa(ZONE, name)
            office.unbound.start()
            wait_for(lambda: office.wire.disconnections() > before, "hostapd to end the session", timeout=30)
        finally:
            supplicant.stop()


def test_a_removed_anchor_stops_counting_at_once_although_openssl_still_has_it(office: Office) -> None:
    name = f"cam5.{DOMAIN}"
    device = office.ca.issue(name)
    # PKIX-EE requires a path to a held anchor besides the record.
    office.knot.add_tlsa(ZONE, name, str(device.tlsa(1, 1, 1)), 60)
    with office.sync(name="sync-removal") as sync:
        wait_for(lambda: sync.status()["anchor_count"] == 1, "the registry's anchor")
        peer = office.peer(device, name)
        peer.write_text(peer.read_text().replace(f"ctrl_interface={office.folder}/wpa\n", ""))
        assert authenticate(office.radius, peer).accepted
        office.web.announce("anchor.removed", domain=ZONE, anchor=office.ca)
        wait_for(lambda: sync.status()["anchor_count"] == 0, "the anchor to go")
        result = authenticate(office.radius, peer)
        assert not result.accepted
        # The handshake was completed. The decision refused the device.
        assert office.radius.decision_for(result.station)["reason"] == "chain_invalid"
        office.web.announce("anchor.added", domain=ZONE, anchor=office.ca)
        wait_for(lambda: sync.status()["anchor_count"] == 1, "the anchor to come back")
        assert authenticate(office.radius, peer).accepted

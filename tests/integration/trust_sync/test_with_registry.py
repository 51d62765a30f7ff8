"""From enrollment to revocation: a real registry, and a real switch port that admits and disconnects the device."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.harness.eap import authenticate, write_peer_config
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.pki import Identity
from tests.harness.process import wait_for
from tests.harness.switch import Switch
from tests.harness.trust_sync import TrustSync
from tests.harness.unbound import Unbound
from tests.integration.iot_registry.parts import Registry

pytestmark = pytest.mark.daemons

ZONE = "home.example"
POLICY = f"version: 1\nrules:\n  - {{name: all, identity: ['**.{ZONE}'], grant: {{vlan: 1}}}}\n"


def enroll(registry: Registry, label: str) -> tuple[str, Identity]:
    """A device with its own key and a certificate from EST."""
    name, bundle = registry.add(label)
    return name, request_certificate(registry, name, bundle)


def request_certificate(registry: Registry, name: str, bundle: str) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False).sign(
        key, hashes.SHA256()
    )
    answer = registry.enroll(bundle, base64.b64encode(csr.public_bytes(serialization.Encoding.DER)))
    assert answer.status == 200, answer.body
    return Identity(answer.certificates()[0], key)


def trust_anchor(registry: Registry) -> str:
    answer = registry.knot.ask(ZONE, "DNSKEY")
    return "".join(f"{ZONE}. IN DNSKEY {r.to_text()}\n" for rrset in answer.answer for r in rrset if r.flags == 257)


@dataclass
class Home:
    """A registry, and a site that follows it."""

    folder: Path
    registry: Registry
    unbound: Unbound
    radius: FreeRadius
    wire: Switch
    sync: TrustSync

    def peer(self, device: Identity, name: str) -> Path:
        path = write_peer_config(
            self.folder / "peers",
            device,
            identity=f"anonymous@{ZONE}",
            server_ca=self.radius.server_ca_file,
            name=name,
        )
        path.write_text(f"ctrl_interface={self.folder}/wpa\nap_scan=0\n" + path.read_text())
        return path

    def anchors(self) -> dict[str, str]:
        """Fingerprints and subjects of the worker's anchors."""
        return {anchor["fingerprint"]: anchor["subject"] for anchor in self.sync.status()["anchors"]}


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="whole-test-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        registry = stack.enter_context(Registry(folder / "registry", options={"publication": {"ttl": 60}}).running())
        stubs = {ZONE: ("127.0.0.1", registry.dns_port)}
        unbound = stack.enter_context(Unbound(folder / "unbound", stubs, trust_anchor(registry)))
        radius = FreeRadius(folder / "radius", unbound.port, POLICY, accounting="sqlite")
        wire = Switch(folder / "wire", radius.auth_port, radius.acct_port, SECRET)
        radius.prepare()
        radius.add_client("wire", wire.nas_address)
        stack.enter_context(radius)
        stack.enter_context(wire)
        key_file = folder / "api.key"
        key_file.write_text(registry.key("feed:read"))
        key_file.chmod(0o600)
        sync = stack.enter_context(
            TrustSync(
                folder / "sync",
                radius.config_file,
                f"[[registry]]\nname = 'home'\nurl = '{registry.url}'\ndomains = ['{ZONE}']\n"
                f"api_key_file = '{key_file}'\nca_file = '{registry.anchor}'\n"
                f"[[nas]]\naddress = '{wire.nas_address}'\nsecret = '{wire.das_secret}'\n"
                f"[sessions]\ndatabase = 'sqlite:///{radius.accounting_db}'\npoll = 0.2\n"
                f"[unbound]\ncontrol_socket = '{unbound.control_socket}'\n",
            )
        )
        wait_for(lambda: sync.status()["anchor_count"] >= 1, "the registry's CA")
        yield Home(folder, registry, unbound, radius, wire, sync)


def test_from_enrollment_to_revocation(home: Home) -> None:
    registry, wire, sync = home.registry, home.wire, home.sync
    name, device = enroll(registry, "cam1")
    wait_for(lambda: registry.knot.tlsa(name), "the record")
    with wire.plug_in(home.peer(device, "cam1"), "cam1"):
        wait_for(lambda: sync.status()["sessions"]["watched_names"] == 1, "the worker to see the session")
        before = wire.disconnections()
        began = time.monotonic()
        registry.revoke(name)
        answered = time.monotonic() - began
        wait_for(lambda: wire.disconnections() > before, "hostapd to end the session", timeout=20, interval=0.005)
        ended = time.monotonic() - began
        print(f"revocation: registry {answered:.3f} s, disconnect {ended:.3f} s, TTL 60 s")
        wait_for(lambda: sync.events("session over"), "the worker to know")
        assert sync.events("session over")[-1]["cause"] == "absent"


def test_an_emergency_rollover_replaces_the_anchor_and_ends_every_session(home: Home) -> None:
    """The issuing key is compromised: its CA is removed, its devices lose access, and enroll again."""
    registry, wire, sync = home.registry, home.wire, home.sync
    name, device = enroll(registry, "cam2")
    wait_for(lambda: registry.knot.tlsa(name), "the record")
    (old_anchor,) = home.anchors()
    bundles = home.folder / "bundles.jsonl"
    supplicant = wire.plug_in(home.peer(device, "cam2"), "cam2")
    try:
        wait_for(lambda: sync.status()["sessions"]["watched_names"] >= 1, "the worker to see the session")
        over = len(sync.events("session over"))
        before = wire.disconnections()
        began = time.monotonic()
        done = registry.json("rollover", "start", ZONE, "--yes", "--bundles", str(bundles))
        rolled = time.monotonic() - began
        wait_for(lambda: wire.disconnections() > before, "hostapd to end the session", timeout=20)
        wait_for(lambda: len(sync.events("session over")) > over, "the worker to know")
        ended = sync.events("session over")[over]
        assert (ended["name"], ended["how"]) == (name, "ack")
        # The DNS proved the absence of the record while the old keys were still valid.
        assert ended["cause"] == "absent"
        wait_for(lambda: len(home.anchors()) == 1 and old_anchor not in home.anchors(), "the anchor to be replaced")
        print(f"rollover: {rolled:.2f} s, {done['devices']} devices; disconnect at NAS after {ended['seconds']} s")
    finally:
        supplicant.stop()
    # The operator must change the DS in the parent. Here, that is the resolver's trust anchor.
    home.unbound.stop()
    home.unbound.anchors = trust_anchor(registry)
    home.unbound.start()
    # The old certificate is refused, although OpenSSL may still have its CA in memory.
    peer = home.peer(device, "cam2-old")
    peer.write_text(peer.read_text().replace(f"ctrl_interface={home.folder}/wpa\n", ""))
    assert not authenticate(home.radius, peer).accepted
    # With a new token, it enrolls under the new CA and is admitted at once.
    fresh = {entry["name"]: entry["bundle"] for entry in map(json.loads, bundles.read_text().splitlines())}
    again = request_certificate(registry, name, fresh[name])
    wait_for(lambda: registry.knot.tlsa(name), "the new record")
    peer = home.peer(again, "cam2-new")
    peer.write_text(peer.read_text().replace(f"ctrl_interface={home.folder}/wpa\n", ""))
    wait_for(lambda: authenticate(home.radius, peer).accepted, "the device to be back", timeout=15)
    (new_anchor,) = home.anchors()
    assert new_anchor != old_anchor

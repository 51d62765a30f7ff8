"""A RADIUS server continues to authenticate with an anchor store whose writer was killed during a change."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dane_radius.core import AnchorSource
from dane_radius.local import AnchorDirectory
from tests.fault.trust_sync.test_store_crash import NOW
from tests.fault.trust_sync.trace import run_and_kill
from tests.harness.eap import EapResult, authenticate, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, authority
from tests.harness.unbound import Unbound
from trust_sync.anchors import AnchorStore, parse_certificate

pytestmark = pytest.mark.daemons

ZONE = "iot.example"
DOMAIN = f"_device.{ZONE}"
POLICY = f"version: 1\nrules:\n  - {{name: all, identity: ['**.{ZONE}'], grant: {{vlan: 1}}}}\n"
# test_store_crash kills the writer at every system call. Here, devices authenticate after a sample of these.
SAMPLES = 5

_numbers = itertools.count(1)


@dataclass
class Site:
    """A real server on the anchor store, with DNS-bound devices."""

    folder: Path
    knot: Knot
    radius: FreeRadius

    @property
    def anchors(self) -> Path:
        return self.radius.anchor_dir

    def admits(self, ca: Authority) -> bool:
        """Whether a new device of a CA is admitted; its record names the CA's key (`2 1 1`)."""
        name = f"d{next(_numbers)}.{DOMAIN}"
        device = ca.issue(name)
        self.knot.add_tlsa(ZONE, name, str(ca.tlsa(2, 1, 1)))
        peer = write_peer_config(
            self.folder / "peers",
            device,
            identity=f"anonymous@{ZONE}",
            server_ca=self.radius.server_ca_file,
            name=name.split(".")[0],
        )
        result: EapResult = authenticate(self.radius, peer)
        # Any answer shows that the server works.
        assert result.code in ("Access-Accept", "Access-Reject"), result.output[-2000:]
        return result.accepted


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    folder = Path(tempfile.mkdtemp(prefix="crash-test-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        knot = stack.enter_context(Knot(folder / "knot", [Zone(ZONE, f"keep._device TLSA 3 1 1 {'00' * 32}\n")]))
        stubs = {ZONE: ("127.0.0.1", knot.port)}
        unbound = stack.enter_context(Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE)))
        radius = stack.enter_context(FreeRadius(folder / "radius", unbound.port, POLICY))
        yield Site(folder, knot, radius)


def add(path: Path, *cas: Authority) -> None:
    with AnchorStore(path) as store:
        for ca in cas:
            store.add(parse_certificate(ca.der), [DOMAIN], AnchorSource.REGISTRY, NOW)


def remove(path: Path, ca: Authority) -> None:
    with AnchorStore(path) as store:
        store.remove(ca.fingerprint)


def renew(path: Path, old: Authority, new: Authority) -> None:
    with AnchorStore(path) as store:
        store.add(parse_certificate(new.der), [DOMAIN], AnchorSource.REGISTRY, NOW)
        store.remove(old.fingerprint)


def compact(path: Path) -> None:
    with AnchorStore(path) as store:
        store.journal.compact(store.held)


def in_force(path: Path) -> frozenset[str]:
    """The anchors that the module would use."""
    reader = AnchorDirectory(path)
    reader.refresh()
    found = frozenset(anchor.record.fingerprint for anchor in reader.for_name(f"a1.{DOMAIN}"))
    assert reader.last_error is None
    return found


Change = Callable[[Path], None]


def round_of(kind: str) -> tuple[list[Authority], Change, Authority, Authority]:
    """New CAs: those held before, the change, one that stays, and one that is added or removed."""
    number = next(_numbers)
    stays, other = authority(f"Stays {number}"), authority(f"Other {number}")
    renewed = authority(f"Stays {number}", key=stays.key)
    match kind:
        case "add":
            return [stays], lambda path: add(path, other), stays, other
        case "remove":
            return [stays, other], lambda path: remove(path, other), stays, other
        case "renew":
            # Both have the same name and key, so the device's certificate is valid under either.
            return [stays, other], lambda path: renew(path, stays, renewed), stays, other
    return [stays, other], compact, stays, other


@pytest.mark.parametrize("kind", ["add", "remove", "renew", "compact"])
def test_devices_come_in_over_a_store_whose_writer_was_killed(site: Site, kind: str) -> None:
    before, change, _, _ = round_of(kind)
    dry = site.folder / f"dry-{kind}"
    add(dry, *before)
    stops = run_and_kill(lambda: change(dry), None)
    admitted = refused = 0
    for sample in range(SAMPLES):
        stop = stops * (sample + 1) // (SAMPLES + 1)
        before, change, stays, other = round_of(kind)
        add(site.anchors, *before)
        run_and_kill(lambda change=change: change(site.anchors), stop)  # type: ignore[misc]
        # Nothing has been repaired yet. OpenSSL must find CAs that it has not loaded before.
        held = in_force(site.anchors)
        assert site.admits(stays), f"{kind}, stop {stop} of {stops}"
        assert site.admits(other) == (other.fingerprint in held), f"{kind}, stop {stop} of {stops}"
        admitted += 1 + (other.fingerprint in held)
        refused += other.fingerprint not in held
        # After a restart of the worker, the same anchors are in force, and the change succeeds.
        with AnchorStore(site.anchors) as store:
            assert frozenset(store.held.records) == held
        change(site.anchors)
        assert site.admits(stays)
        assert site.admits(other) == (kind != "remove")
        admitted += 1 + (kind != "remove")
        with AnchorStore(site.anchors) as store:
            for fingerprint in store.held.records:
                store.remove(fingerprint)
        assert not site.admits(stays)
    print(f"{kind}: {SAMPLES} of {stops} stops, {admitted} devices admitted, {refused} refused as the store says")

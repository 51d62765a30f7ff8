"""The demo's world: a signed zone, a tampered one, an unsigned one, a validating resolver, and the RADIUS server."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import Authority, Identity, authority
from tests.harness.unbound import Unbound
from tests.harness.zones import tampered_zone

SIGNED, TAMPERED, UNSIGNED = "iot.example", "tampered.example", "unsigned.example"
TTL = 3
DNS_DEADLINE = 1.5

POLICY = """\
version: 1
networks:
  house:
    ssid: [iot]
rules:
  - name: cameras
    identity: ["*.camera._device.iot.example"]
    networks: [house]
    grant: {vlan: 42, session_timeout: 8h}
  - name: other-domains
    identity: ["**._device.tampered.example", "**._device.unsigned.example"]
    grant: {vlan: 66}
"""


@dataclass
class World:
    """Everything that runs, and the devices with their certificates."""

    folder: Path
    knot: Knot
    unbound: Unbound
    radius: FreeRadius
    vendor: Authority
    devices: dict[str, Identity] = field(default_factory=dict)

    def stop(self) -> None:
        """End every daemon, last started first."""
        self.radius.stop()
        self.unbound.stop()
        self.knot.stop()


def device_name(label: str) -> str:
    return f"{label}.camera._device.{SIGNED}"


def build(folder: Path) -> World:
    """Make certificates and zones, and start the daemons. When one fails to start, end those before it."""
    vendor = authority("Camera Vendor CA")
    # A CA of another domain that copies the vendor's DN and key identifier.
    impostor_ca = authority("Camera Vendor CA", ski=vendor.ski)
    devices = {
        label: vendor.issue(device_name(label), aki=vendor.full_aki())
        for label in ("front", "back", "rolled", "unlisted", "retired", "late")
    }
    devices["impostor"] = impostor_ca.issue(
        device_name("front"), aki=impostor_ca.full_aki(vendor.ski), ski=devices["front"].ski
    )
    devices["tampered"] = vendor.issue(f"cam._device.{TAMPERED}", aki=vendor.full_aki())
    devices["unsigned"] = vendor.issue(f"cam._device.{UNSIGNED}", aki=vendor.full_aki())
    devices["stranger"] = vendor.issue("cam._device.stranger.example", aki=vendor.full_aki())
    stale_key = vendor.issue(device_name("rolled"))

    signed = "\n".join(
        f"{label}.camera._device {TTL} TLSA {record}"
        for label, record in (
            ("front", devices["front"].tlsa(3, 1, 1)),
            ("back", devices["back"].tlsa(3, 0, 1)),
            ("rolled", stale_key.tlsa(3, 1, 1)),
            ("rolled", devices["rolled"].tlsa(3, 1, 1)),
            ("retired", devices["retired"].tlsa(3, 1, 1)),
            ("late", devices["late"].tlsa(3, 1, 1)),
        )
    )
    tampered, anchor = tampered_zone(folder / "signing", TAMPERED, f"cam._device TLSA {devices['tampered'].tlsa()}")
    zones = [
        Zone(SIGNED, signed, ttl=TTL),
        Zone(TAMPERED, signed=False, verbatim=tampered),
        Zone(UNSIGNED, f"cam._device TLSA {devices['unsigned'].tlsa()}", signed=False),
    ]
    knot = Knot(folder / "knot", zones).start()
    try:
        authority_address = ("127.0.0.1", knot.port)
        unbound = Unbound(
            folder / "unbound",
            {zone.name: authority_address for zone in zones},
            knot.trust_anchors(SIGNED) + anchor,
        ).start()
        try:
            radius = FreeRadius(
                folder / "radius", unbound.port, POLICY, anchors=[vendor, impostor_ca], dns_timeout=DNS_DEADLINE
            ).start()
        except BaseException:
            unbound.stop()
            raise
    except BaseException:
        knot.stop()
        raise
    return World(folder, knot, unbound, radius, vendor, devices)

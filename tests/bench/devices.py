"""Many devices, each with a P-256 key, a certificate and a TLSA record of its own."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.eap_client import Device
from tests.harness.pki import Authority, Identity


@dataclass(frozen=True)
class Fleet:
    """Devices of one zone, the serial numbers of their certificates, and the zone's records that vouch for them."""

    zone: str
    devices: Sequence[Device]
    serials: Sequence[int]
    records: str


def device_name(number: int, zone: str) -> str:
    return f"d{number}.camera._device.{zone}"


def station(number: int) -> str:
    """A locally administered MAC address for a device number below 2**32."""
    octets = (2, 1, *number.to_bytes(4, "big"))
    return "-".join(f"{octet:02X}" for octet in octets)


def make_fleet(
    ca: Authority,
    zone: str,
    count: int,
    folder: Path,
    server_ca: Path,
    *,
    first: int = 0,
    ttl: int = 3600,
    tls: str = "1.3",
) -> Fleet:
    """Keys, certificates and TLS contexts of `count` devices, numbered from `first` (stations are unique by it)."""
    folder.mkdir(parents=True, exist_ok=True)
    devices = []
    serials = []
    records = []
    for number in range(first, first + count):
        name = device_name(number, zone)
        identity = ca.issue(name)
        context = client_context(identity, folder / "device", server_ca, tls)
        devices.append(Device(name, zone, station(number), context))
        serials.append(identity.certificate.serial_number)
        records.append(f"d{number}.camera._device {ttl} TLSA {identity.tlsa()}")
    return Fleet(zone, devices, serials, "\n".join(records))


def client_context(identity: Identity, path: Path, server_ca: Path, tls: str) -> ssl.SSLContext:
    """A context that proves `identity` and believes `server_ca`. The file at `path` is written over by the next."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The server's name is the supplicant's to check, and costs nothing next to the signature.
    context.check_hostname = False
    context.load_verify_locations(server_ca)
    version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[tls]
    context.minimum_version = context.maximum_version = version
    context.options |= ssl.OP_NO_TICKET
    path.write_bytes(identity.key_pem + identity.pem)
    context.load_cert_chain(path)
    return context


def policy(zones: Iterable[str]) -> str:
    """A policy that covers the devices of these zones."""
    identities = ", ".join(f'"*.camera._device.{zone}"' for zone in zones)
    return (
        "version: 1\nrules:\n  - name: cameras\n"
        f"    identity: [{identities}]\n    grant: {{vlan: 42, session_timeout: 8h}}\n"
    )

"""An enrolled device without a registry, and the command `iot-safe-sim join`."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim.card import Card
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import CardPrivateKey, IoTSafeClient, MemoryTransport
from tests.harness.device import DeviceNetwork
from tests.harness.freeradius import SERVER_NAME
from tests.harness.pki import Authority, authority

NAME = "a1b2c3.camera._device.example.net"
DEVICE_CA = authority("Device Root")
SERVER_CA = authority("RADIUS Root")
SERVER = SERVER_CA.issue(SERVER_NAME, common_name=SERVER_NAME, eku=[x509.ExtendedKeyUsageOID.SERVER_AUTH])


@dataclass
class Device:
    """An enrolled device, and what it must know of the network."""

    state: Path
    radius_ca: Path

    def options(self) -> list[str]:
        return ["--state", str(self.state), "--radius-name", SERVER_NAME, "--radius-ca", str(self.radius_ca)]


def enrolled(folder: Path, key_store: str, ca: Authority = DEVICE_CA) -> Device:
    """A device as enrollment leaves it, without a registry."""
    issuing = ca.sub_authority("Device Issuing CA")
    with Card(folder / "card", key_store=key_store) as card:
        client = IoTSafeClient(MemoryTransport(card.applet))
        client.create_key(containers.DEVICE_KEY)
        certificate = issuing.issue(NAME, key=CardPrivateKey(client, containers.DEVICE_KEY), common_name=NAME)
        client.write_file(containers.CLIENT_CERTIFICATE, certificate.certificate.public_bytes(Encoding.DER))
        client.write_file(containers.ISSUING_CA, issuing.der)
    (folder / "radius-ca.pem").write_bytes(SERVER_CA.pem)
    return Device(folder / "card", folder / "radius-ca.pem")


def join(*arguments: str, network: DeviceNetwork | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(network.inside() if network else ()), sys.executable, "-m", "iot_safe_sim.cli", "join", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PRIVATE_KEY = re.compile(
    # PEM of any kind; SEC 1 and PKCS #8 in DER: version, then a 32-byte octet string or the EC algorithm.
    rb"PRIVATE KEY-----"
    rb"|\x02\x01\x01\x04\x20"
    rb"|\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
)


def private_keys_below(folder: Path) -> list[Path]:
    """Files that contain a private key in the clear."""
    return [path for path in folder.rglob("*") if path.is_file() and PRIVATE_KEY.search(path.read_bytes())]

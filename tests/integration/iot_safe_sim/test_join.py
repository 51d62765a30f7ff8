"""Joining with the key in the token: eapol_test and wpa_supplicant against FreeRADIUS, and over a wire with hostapd."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from iot_safe_sim import layout
from iot_safe_sim.card import Card
from iot_safe_sim.client import IoTSafeClient, MemoryTransport
from iot_safe_sim.keystore import NAMES, public_key
from tests.harness.pki import Authority, authority
from tests.harness.process import free_port
from tests.integration.iot_safe_sim.radius import SECRET, SERVER_NAME, Radius, Wire, inside

NAME = "a1b2c3.camera._device.example.net"


@dataclass
class Device:
    """An enrolled device and what it needs to know of the network."""

    state: Path
    radius_ca: Path

    def options(self) -> list[str]:
        return ["--state", str(self.state), "--radius-name", SERVER_NAME, "--radius-ca", str(self.radius_ca)]


class _Public:
    def __init__(self, point: bytes) -> None:
        self._point = point

    def public_key(self) -> object:
        return public_key(self._point)


DEVICE_CA = authority("Device Root")
SERVER_CA = authority("RADIUS Root")
SERVER = SERVER_CA.issue(SERVER_NAME, common_name=SERVER_NAME, eku=[x509.ExtendedKeyUsageOID.SERVER_AUTH])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: control sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="iss-") as path:
        yield Path(path)


def enrolled(folder: Path, key_store: str, ca: Authority = DEVICE_CA) -> Device:
    """A device as enrollment leaves it, without a registry."""
    issuing = ca.sub_authority("Device Issuing CA")
    with Card(folder / "card", key_store=key_store) as card:
        client = IoTSafeClient(MemoryTransport(card.applet))
        point = client.create_key(layout.DEVICE_KEY)
        certificate = issuing.issue(NAME, key=_Public(point), common_name=NAME)
        client.write_file(layout.CLIENT_CERTIFICATE, certificate.certificate.public_bytes(Encoding.DER))
        client.write_file(layout.ISSUING_CA, issuing.der)
    (folder / "radius-ca.pem").write_bytes(SERVER_CA.pem)
    return Device(folder / "card", folder / "radius-ca.pem")


def join(*arguments: str, namespace: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*inside(namespace), sys.executable, "-m", "iot_safe_sim.cli", "join", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize("key_store", NAMES)
def test_eapol_test_authenticates_with_the_printed_configuration(folder: Path, key_store: str, tls: str) -> None:
    device = enrolled(folder, key_store)
    done = join("--interface", "eth0", "--print-config", *device.options(), *(["--tls-1.2"] if tls == "1.2" else []))
    assert done.returncode == 0, done.stderr
    environment = dict(os.environ)
    for name, value in re.findall(r"^# environment: (\w+)=(.*)$", done.stdout, re.MULTILINE):
        environment[name] = value
    (folder / "peer.conf").write_text(done.stdout)
    assert ('private_key="pkcs11:' in done.stdout) == (key_store == "softhsm")
    port = free_port()
    with Radius(folder / "radius", DEVICE_CA, SERVER, SERVER_CA, port):
        with (folder / "eapol.log").open("wb") as log:
            command = ["eapol_test", "-c", str(folder / "peer.conf"), "-a", "127.0.0.1", "-p", str(port)]
            ended = subprocess.run(
                [*command, "-s", SECRET, "-t", "10"], stdout=log, stderr=log, env=environment, timeout=30, check=False
            )
        text = (folder / "eapol.log").read_text(errors="replace")
        assert ended.returncode == 0, text[-3000:]
        assert f"Using TLS version TLSv{tls}" in text
    served = (folder / "radius" / "radiusd.log").read_text(errors="replace")
    assert f'TLS-Client-Cert-Subject-Alt-Name-Dns := "{NAME}"' in served
    assert f'User-Name = "{NAME}"' in served


PRIVATE_KEY = re.compile(
    # PEM of any kind; SEC 1 and PKCS #8 in DER: version, then a 32-byte octet string or the EC algorithm.
    rb"PRIVATE KEY-----"
    rb"|\x02\x01\x01\x04\x20"
    rb"|\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
)


def private_keys_below(folder: Path) -> list[Path]:
    """Files that contain a private key in the clear."""
    return [path for path in folder.rglob("*") if path.is_file() and PRIVATE_KEY.search(path.read_bytes())]


@pytest.mark.parametrize("key_store", NAMES)
def test_no_private_key_file_exists_with_the_token(folder: Path, key_store: str) -> None:
    """The search finds the software store's key, so it would find one of the token's."""
    device = enrolled(folder, key_store)
    done = join("--interface", "eth0", "--print-config", *device.options())
    assert done.returncode == 0, done.stderr
    found = private_keys_below(folder)
    if key_store == "software":
        assert [path.suffix for path in found] == [".pem"]
        assert (found[0].stat().st_mode & 0o777) == 0o600
        return
    assert found == []
    pin = (device.state / "token" / "pin").read_text()
    assert pin not in done.stdout
    assert f"?pin-source={device.state / 'token' / 'pin'}" in done.stdout
    for path in (device.state / "join" / "eth0").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--radius-name", "radius.example.net;evil"], "not a DNS name"),
        (["--radius-name", 'x"\nca_cert="'], "not a DNS name"),
    ],
)
def test_values_cannot_break_out_of_the_configuration(folder: Path, arguments: list[str], message: str) -> None:
    device = enrolled(folder, "software")
    options = ["--state", str(device.state), "--radius-ca", str(device.radius_ca), "--interface", "eth0"]
    done = join(*options, "--print-config", *arguments)
    assert done.returncode == 1
    assert message in done.stderr


def test_a_device_that_cannot_join_says_why(folder: Path) -> None:
    (folder / "ca.pem").write_bytes(SERVER_CA.pem)
    (folder / "bad.pem").write_text("nothing")
    common = ["--interface", "eth0", "--radius-name", SERVER_NAME, "--print-config"]
    done = join("--state", str(folder / "none"), "--radius-ca", str(folder / "ca.pem"), *common)
    assert (done.returncode, "there is no card here" in done.stderr) == (1, True)
    Card(folder / "new", key_store="software").close()
    done = join("--state", str(folder / "new"), "--radius-ca", str(folder / "ca.pem"), *common)
    assert (done.returncode, "enroll it first" in done.stderr) == (1, True)
    device = enrolled(folder, "software")
    done = join("--state", str(device.state), "--radius-ca", str(folder / "bad.pem"), *common)
    assert (done.returncode, "the RADIUS server's CA cannot be read" in done.stderr) == (1, True)
    with Card(device.state) as card:
        IoTSafeClient(MemoryTransport(card.applet)).create_key(layout.DEVICE_KEY)
    done = join("--state", str(device.state), "--radius-ca", str(folder / "ca.pem"), *common)
    assert (done.returncode, "is for another key" in done.stderr) == (1, True)


def test_wifi_configuration(folder: Path) -> None:
    device = enrolled(folder, "softhsm")
    done = join("--interface", "wlan0", "--ssid", "Café Netz", "--print-config", *device.options())
    assert done.returncode == 0, done.stderr
    for line in (f"ssid={'Café Netz'.encode().hex()}", "key_mgmt=WPA-EAP WPA-EAP-SHA256", "ap_scan=1"):
        assert line in done.stdout
    for ssid in ("", "x" * 33, "é" * 17):
        refused = join("--interface", "wlan0", "--ssid", ssid, "--print-config", *device.options())
        assert (refused.returncode, "expected 1 to 32" in refused.stderr) == (1, True)


def parsed(folder: Path, text: str) -> str:
    """What wpa_supplicant says to a configuration. It reads it, and then finds no such interface."""
    path = folder / "read.conf"
    path.write_text(text)
    command = ["wpa_supplicant", "-D", "wired", "-i", "nowhere0", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("ssid", "key_store"),
    [
        (None, "softhsm"),
        (None, "software"),
        ("Café Netz", "softhsm"),
        ('"quoted"\n', "softhsm"),
        ("x" * 32, "software"),
    ],
)
def test_wpa_supplicant_reads_every_line_of_the_configuration(folder: Path, ssid: str | None, key_store: str) -> None:
    device = enrolled(folder, key_store)
    link = [] if ssid is None else ["--ssid", ssid]
    text = join("--interface", "wlan0", *link, "--print-config", *device.options()).stdout
    said = parsed(folder, text)
    assert "Failed to read or parse" not in said
    assert "Line " not in said
    assert "Failed to initialize driver interface" in said
    # That it would have said so of a wrong field, value or quote.
    for right, wrong in (("eap=TLS", "eap=TLZ"), ("\tidentity=", "\tidentify="), ('private_key="', "private_key=")):
        assert right in text
        assert "Failed to read or parse" in parsed(folder, text.replace(right, wrong))


@pytest.fixture
def wire(folder: Path) -> Iterator[Wire]:
    """A wire with hostapd and FreeRADIUS behind it."""
    port = 1812
    with (
        Wire(folder / "wire", port) as wire,
        Radius(folder / "radius", DEVICE_CA, SERVER, SERVER_CA, port, wire.switch),
    ):
        wire.start_authenticator()
        yield wire


def test_over_a_wire_with_the_key_in_the_token(folder: Path, wire: Wire) -> None:
    device = enrolled(folder, "softhsm")
    assert not wire.authorized()
    process = subprocess.Popen(
        [
            *inside(wire.device), sys.executable, "-m", "iot_safe_sim.cli", "join", "--json",
            "--interface", wire.device_interface, *device.options(),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        events = []
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["state"] == "joined":
                break
        assert events, process.communicate()[1]
        assert events[-1]["state"] == "joined"
        assert events[-1]["name"] == NAME
        assert events[-1]["port"] == "Authorized"
        assert events[-1]["tls_version"] == "TLSv1.3"
        wire.wait_authorized(True)
        assert private_keys_below(device.state) == []
        # The card is free while the device is joined.
        with Card(device.state) as card:
            assert card.applet.store.private_keys[layout.DEVICE_KEY].filled
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    wire.wait_authorized(False)


@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_server_that_is_not_the_one_expected_is_not_joined(folder: Path, wire: Wire, wrong: str) -> None:
    device = enrolled(folder, "softhsm")
    if wrong == "authority":
        device.radius_ca.write_bytes(authority("Wrong").pem)
    name = "other.example.net" if wrong == "name" else SERVER_NAME
    options = ["--state", str(device.state), "--radius-name", name, "--radius-ca", str(device.radius_ca)]
    done = join("--interface", wire.device_interface, "--once", *options, namespace=wire.device)
    assert done.returncode == 1
    assert "server-refused" in done.stderr
    assert not wire.authorized()


def test_a_token_that_does_not_open_is_reported(folder: Path, wire: Wire) -> None:
    device = enrolled(folder, "softhsm")
    pin = (device.state / "token" / "pin").read_text()
    # Between the card's own use of the token and wpa_supplicant's, the PIN file changes.
    script = (
        "import sys, pathlib, iot_safe_sim.cli\n"
        "command = sys.modules['iot_safe_sim.cli.join']\n"
        "start = command.Supplicant\n"
        "def changed(*arguments, **options):\n"
        "    pathlib.Path(sys.argv.pop()).write_text('000000')\n"
        "    return start(*arguments, **options)\n"
        "command.Supplicant = changed\n"
        "command.join(sys.argv[1:-1])\n"
    )
    options = ["--interface", wire.device_interface, "--once", *device.options()]
    command = [sys.executable, "-c", script, *options, str(device.state / "token" / "pin")]
    done = subprocess.run([*inside(wire.device), *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "key-unavailable" in done.stderr
    assert pin not in done.stderr


def test_a_device_that_the_network_rejects_is_told(folder: Path, wire: Wire) -> None:
    device = enrolled(folder, "softhsm", authority("Unknown Root"))
    done = join("--interface", wire.device_interface, "--once", *device.options(), "--json", namespace=wire.device)
    assert done.returncode == 1
    assert "rejected" in done.stderr
    assert not wire.authorized()
    assert "joined" not in [json.loads(line)["state"] for line in done.stdout.splitlines()]


def test_an_interface_that_does_not_exist(folder: Path, wire: Wire) -> None:
    device = enrolled(folder, "software")
    done = join("--interface", "nosuch0", "--once", *device.options(), namespace=wire.device)
    assert done.returncode == 1
    assert "wpa_supplicant ended" in done.stderr

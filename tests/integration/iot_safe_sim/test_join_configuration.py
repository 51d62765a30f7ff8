"""The configuration that `iot-safe-sim join` writes for wpa_supplicant, and the files beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.interface import containers
from iot_safe_sim.keystore import KEY_STORE_NAMES
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.harness.freeradius import SERVER_NAME
from tests.integration.iot_safe_sim.joining import (
    SERVER_CA,
    enrolled,
    join,
    private_keys_below,
)


@pytest.mark.parametrize("key_store", KEY_STORE_NAMES)
def test_no_private_key_file_exists_with_the_token(folder: Path, key_store: str) -> None:
    """The search finds the key of the software store, so it would find a key of the token."""
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
def test_values_cannot_inject_configuration(folder: Path, arguments: list[str], message: str) -> None:
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
        IoTSafeClient(MemoryTransport(card.applet)).create_key(containers.DEVICE_KEY)
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
    """The output of wpa_supplicant for a configuration. It reads the file, and then finds no such interface."""
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
    # It would have reported a wrong field, value or quote.
    for right, wrong in (("eap=TLS", "eap=TLZ"), ("\tidentity=", "\tidentify="), ('private_key="', "private_key=")):
        assert right in text
        assert "Failed to read or parse" in parsed(folder, text.replace(right, wrong))

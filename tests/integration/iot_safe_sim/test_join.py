"""Joining with the key in the token: eapol_test and wpa_supplicant against FreeRADIUS, and over a wire with hostapd."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.interface import containers
from iot_safe_sim.keystore import KEY_STORE_NAMES
from tests.harness.eap_tls_server import EapTlsServer
from tests.harness.freeradius import SECRET, SERVER_NAME
from tests.harness.pki import authority
from tests.harness.process import free_port, wait_for
from tests.harness.switch import Switch
from tests.integration.iot_safe_sim.joining import (
    DEVICE_CA,
    NAME,
    SERVER,
    SERVER_CA,
    enrolled,
    join,
    private_keys_below,
)


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize("key_store", KEY_STORE_NAMES)
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
    with EapTlsServer(folder / "radius", DEVICE_CA, SERVER, SERVER_CA, port):
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


@pytest.fixture
def switch(folder: Path) -> Iterator[Switch]:
    """A switch, and the RADIUS server that it asks."""
    with (
        EapTlsServer(folder / "radius", DEVICE_CA, SERVER, SERVER_CA) as radius,
        Switch(folder / "switch", radius.port) as switch,
    ):
        yield switch


def test_over_a_wire_with_the_key_in_the_token(folder: Path, switch: Switch) -> None:
    device = enrolled(folder, "softhsm")
    assert not switch.authorized()
    process = subprocess.Popen(
        [
            *switch.device.inside(), sys.executable, "-m", "iot_safe_sim.cli", "join", "--json",
            "--interface", switch.cables[0].interface, *device.options(),
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
        wait_for(switch.authorized, "the port to open")
        assert private_keys_below(device.state) == []
        # The card is free while the device is joined.
        with Card(device.state) as card:
            assert card.applet.store.private_keys[containers.DEVICE_KEY].filled
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 0
    wait_for(lambda: not switch.authorized(), "the port to close")


@pytest.mark.parametrize("wrong", ["name", "authority"])
def test_a_server_that_is_not_the_one_expected_is_not_joined(folder: Path, switch: Switch, wrong: str) -> None:
    device = enrolled(folder, "softhsm")
    if wrong == "authority":
        device.radius_ca.write_bytes(authority("Wrong").pem)
    name = "other.example.net" if wrong == "name" else SERVER_NAME
    options = ["--state", str(device.state), "--radius-name", name, "--radius-ca", str(device.radius_ca)]
    done = join("--interface", switch.cables[0].interface, "--once", *options, network=switch.device)
    assert done.returncode == 1
    assert "server-refused" in done.stderr
    assert not switch.authorized()


def test_a_token_that_does_not_open_is_reported(folder: Path, switch: Switch) -> None:
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
    options = ["--interface", switch.cables[0].interface, "--once", *device.options()]
    command = [sys.executable, "-c", script, *options, str(device.state / "token" / "pin")]
    done = subprocess.run([*switch.device.inside(), *command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "key-unavailable" in done.stderr
    assert pin not in done.stderr


def test_a_rejection_by_the_network_is_reported(folder: Path, switch: Switch) -> None:
    device = enrolled(folder, "softhsm", authority("Unknown Root"))
    done = join("--interface", switch.cables[0].interface, "--once", *device.options(), "--json", network=switch.device)
    assert done.returncode == 1
    assert "rejected" in done.stderr
    assert not switch.authorized()
    assert "joined" not in [json.loads(line)["state"] for line in done.stdout.splitlines()]


def test_an_interface_that_does_not_exist(folder: Path, switch: Switch) -> None:
    device = enrolled(folder, "software")
    done = join("--interface", "nosuch0", "--once", *device.options(), network=switch.device)
    assert done.returncode == 1
    assert "wpa_supplicant ended" in done.stderr

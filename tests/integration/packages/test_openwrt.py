"""The OpenWrt recipe: its shell parts on real interfaces, with hostapd, FreeRADIUS and a device. No OpenWrt runs here.

OpenWrt's own shell functions are not in Debian. `config_get` stands for them, with the values of the shipped file.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness import eap_tls_server
from tests.harness.deploy import REPOSITORY
from tests.harness.eap_tls_server import EapTlsServer
from tests.harness.freeradius import SECRET
from tests.harness.process import Daemon, start, wait_for
from tests.harness.switch import Switch
from tests.integration.iot_safe_sim.joining import DEVICE_CA, SERVER, SERVER_CA, enrolled

pytestmark = pytest.mark.daemons
RECIPE = REPOSITORY / "containers" / "openwrt"
FILES = RECIPE / "dane-wired" / "files"
_CONFIG_GET = 'config_get() { eval "$1=\\"\\$UCI_$3\\""; }'


def shipped() -> dict[str, str]:
    """The options of the section `radius` in the shipped configuration, without lists."""
    text = (FILES / "dane-wired.config").read_text().split("config port")[0]
    return dict(re.findall(r"^\toption (\w+) '([^']*)'$", text, re.MULTILINE))


def shell(script: str, options: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run shell code after configuration.sh, where `config_get` has these options."""
    environment = {f"UCI_{name}": value for name, value in options.items()} | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    program = f". {FILES}/configuration.sh; {_CONFIG_GET}; {script}"
    return subprocess.run(
        [*words, "sh", "-c", program], env=environment, capture_output=True, text=True, timeout=30, check=False
    )


@dataclass
class OpenWrtSwitch(Switch):
    """A switch whose hostapd has the recipe's configuration, and whose ports follow the recipe's program."""

    granted: tuple[int, ...] = ()
    options: dict[str, str] = field(default_factory=dict)

    @property
    def _control(self) -> Path:
        return self.folder / "control"

    def _add_vlans(self) -> None:
        super()._add_vlans()
        (self.folder / "vlans").touch()
        self.options = shipped() | {
            "own_ip": self.nas_address, "nas_identifier": self.name, "server": self.server_address,
            "auth_port": str(self.auth_port), "acct_port": str(self.auth_port), "secret": self.secret,
            "das_client": self.server_address, "das_secret": self.das_secret, "bridge": "br",
        }  # fmt: skip
        for number in self.granted:
            done = shell(f"dane_wired_vlan {number} {self.folder}", self.options, *self.inside())
            assert done.returncode == 0, done.stderr

    def _start_hostapd(self) -> Daemon:
        configs = []
        for number, port in enumerate(self._ports):
            done = shell(f"dane_wired_port {port} {number} {self.folder}", self.options)
            assert done.returncode == 0, done.stderr
            configs.append(self.folder / f"{port}.conf")
            configs[-1].write_text(done.stdout)
        return start(
            "hostapd", [*self.inside(), "hostapd", "-dd", "-t", *configs], log=self.log,
            ready=lambda: self.text().count("AP-ENABLED") == len(configs),
        )  # fmt: skip

    def _start_opener(self, port: str) -> Daemon:
        return start(
            "hostapd_cli",
            [*self.inside(), "hostapd_cli", "-p", self._control, "-i", port, "-r", "-a", FILES / "port-action"],
            log=self.folder / "actions.log",
            ready=lambda: "monitor attached" in self.text(),
            env={"DANE_WIRED_BRIDGE": "br", "DANE_WIRED_CONTROL": str(self._control)},
        )


@pytest.fixture(params=[(42,)], ids=["granted"])
def switch(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenWrtSwitch]:
    """A switch with VLAN 42, and the RADIUS server that it asks, which puts every device there."""
    tmp_path.chmod(0o755)
    reply = "update reply {{ Tunnel-Type := VLAN, Tunnel-Medium-Type := IEEE-802, Tunnel-Private-Group-Id := 42 }}"
    text = eap_tls_server._RADIUSD.replace("  post-auth {{\n", f"  post-auth {{{{\n    {reply}\n", 1)
    monkeypatch.setattr(eap_tls_server, "_RADIUSD", text.replace(", Tunnel", "\n Tunnel"))
    radius = EapTlsServer(tmp_path / "radius", DEVICE_CA, SERVER, SERVER_CA)
    switch = OpenWrtSwitch(tmp_path / "switch", radius.port, vlans={42: "10.142.0.1/24"}, granted=request.param)
    with radius, switch:
        yield switch


class Joined:
    """A device that tries to join, until the end of the block."""

    def __init__(self, switch: OpenWrtSwitch, folder: Path) -> None:
        device = enrolled(folder, "software")
        self._process = subprocess.Popen(
            [*switch.device.inside(), sys.executable, "-m", "iot_safe_sim.cli", "join", "--interface",
             switch.cables[0].interface, *device.options()],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> Joined:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)


def test_a_port_opens_into_the_granted_vlan_and_closes_again(switch: OpenWrtSwitch, tmp_path: Path) -> None:
    assert switch.vlan() is None
    ping = [*switch.device.inside(), "ping", "-c", "1", "-W", "5", "10.142.0.1"]
    with Joined(switch, tmp_path):
        assert switch.wait_open() == 42
        assert subprocess.run(ping, capture_output=True).returncode == 0
    switch.wait_closed()
    assert subprocess.run([*ping[:-2], "1", ping[-1]], capture_output=True).returncode != 0
    assert any(line.startswith("opened") for line in switch.actions())


def test_a_disconnect_request_closes_the_port(switch: OpenWrtSwitch, tmp_path: Path) -> None:
    with Joined(switch, tmp_path):
        switch.wait_open()
        (station,) = switch.stations()
        request = (
            f'Calling-Station-Id = "{station}", Event-Timestamp = {int(time.time())}, Message-Authenticator = 0x00'
        )
        assert "Disconnect" not in _disconnect(switch, "wrong", request)
        assert switch.vlan() == 42
        assert "Disconnect-ACK" in _disconnect(switch, switch.das_secret, request)
        switch.wait_closed()


def _disconnect(switch: OpenWrtSwitch, secret: str, request: str) -> str:
    """The answer to a Disconnect-Request, as radclient prints it; empty for none."""
    done = subprocess.run(
        ["radclient", "-r", "1", "-t", "2", f"{switch.nas_address}:3799", "disconnect", secret],
        input=request, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "\n".join(line for line in done.stdout.splitlines() if line.startswith("Received"))


@pytest.mark.parametrize("switch", [()], ids=["no VLAN"], indirect=True)
def test_a_vlan_that_the_device_does_not_list_opens_no_port(switch: OpenWrtSwitch, tmp_path: Path) -> None:
    with Joined(switch, tmp_path):
        wait_for(lambda: "could not add dynamic VLAN" in switch.text(), "hostapd to refuse the VLAN", 20)
        assert switch.vlan() is None


@pytest.mark.parametrize("missing", sorted(set(shipped()) - {"bridge"}))
def test_a_missing_option_starts_nothing(missing: str) -> None:
    done = shell("dane_wired_port lan1 0 /var/run/dane-wired", shipped() | {missing: ""})
    assert done.returncode != 0
    assert done.stdout == ""
    assert f"option {missing} is missing" in done.stderr


def test_ports_do_not_share_a_socket_for_disconnects() -> None:
    ports = [
        re.findall(r"radius_das_port=(\d+)", shell(f"dane_wired_port lan{n} {n} /x", shipped()).stdout) for n in (0, 1)
    ]
    assert ports == [["3799"], ["3800"]]


def test_every_example_requires_a_message_authenticator_of_a_disconnect() -> None:
    assert "radius_das_require_message_authenticator=1" in (RECIPE / "wireless.uci").read_text()
    assert "radius_das_require_message_authenticator=1" in shell("dane_wired_port lan1 0 /x", shipped()).stdout


def test_the_shipped_secrets_are_examples_and_the_tests_use_others() -> None:
    assert SECRET not in shipped().values()

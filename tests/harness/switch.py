"""A switch with one guarded port, and the devices that are plugged into it: network namespaces, veth, hostapd.

The port is in no bridge until hostapd authorizes it; then it joins the bridge of the VLAN that RADIUS named. So what a
device can reach shows what it was granted.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.private_net import next_private_net
from tests.harness.process import Daemon, run, start, wait_for

_numbers = itertools.count(1)

_OPEN_AND_CLOSE = """\
#!/bin/sh
# What a switch does by itself: the controlled port follows hostapd's events.
cli="hostapd_cli -p {folder}/ctrl -i $1"
case "$2" in
AP-STA-CONNECTED|CTRL-EVENT-EAP-SUCCESS2)
	vlan=$($cli sta "$3" | sed -n 's/^vlan_id=//p')
	[ -n "$vlan" ] && ip link set "$1" master "br$vlan" && echo "opened $3 vlan $vlan" ;;
AP-STA-DISCONNECTED)
	ip link set "$1" nomaster && echo "closed $3"
	# hostapd forgets a station 5 s after its end; only then may it be asked again.
	(sleep 6; $cli new_sta "$3") >/dev/null 2>&1 & ;;
esac
"""


def new_tag() -> str:
    """The first part of a namespace's name: carries the process id, so that runs side by side do not collide."""
    return f"d{os.getpid() % 100000:x}n{next(_numbers)}"


@dataclass
class DeviceNetwork:
    """A device's own network namespace: its interfaces appear when it is plugged in."""

    station: str
    tag: str = field(default_factory=new_tag)

    @property
    def namespace(self) -> str:
        return f"{self.tag}-dev"

    def __enter__(self) -> DeviceNetwork:
        run(["ip", "netns", "add", self.namespace])
        run(["ip", "-n", self.namespace, "link", "set", "lo", "up"])
        return self

    def __exit__(self, *exc: object) -> None:
        subprocess.run(["ip", "netns", "del", self.namespace], check=False, capture_output=True)

    def inside(self) -> list[str]:
        """The words that run a command there."""
        return ["ip", "netns", "exec", self.namespace]

    def reaches(self, address: str) -> bool:
        """Whether a ping is answered."""
        command = [*self.inside(), "ping", "-n", "-c", "1", "-W", "1", address]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0


@dataclass
class Switch:
    """A switch that asks `radius_ports` (authentication, accounting) at `server_address`, for a device plugged into it.

    vlans: number -> the address of a host in that VLAN, with its prefix length.
    """

    folder: Path
    device: DeviceNetwork
    interface: str
    radius_ports: tuple[int, int]
    secret: str
    vlans: dict[int, str]
    name: str = "switch"
    das_secret: str = "das-secret"
    hostapd: Daemon | None = None
    _actions: Daemon | None = None
    _made: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tag = new_tag()
        net = next_private_net()
        self.server_address, self.nas_address = f"{net}.1", f"{net}.2"

    @property
    def namespace(self) -> str:
        return f"{self.tag}-sw"

    @property
    def log(self) -> Path:
        return self.folder / "hostapd.log"

    def __enter__(self) -> Switch:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._make_links()
            self._start_hostapd()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for daemon in (self._actions, self.hostapd):
            if daemon:
                daemon.stop()
        for command in reversed(self._made):
            subprocess.run(command, check=False, capture_output=True)
        self._made.clear()

    def _ip(self, *arguments: str) -> None:
        run(["ip", "-n", self.namespace, *arguments])

    def _make_links(self) -> None:
        run(["ip", "netns", "add", self.namespace])
        self._made.append(["ip", "netns", "del", self.namespace])
        self._ip("link", "set", "lo", "up")
        for number, address in self.vlans.items():
            self._ip("link", "add", f"br{number}", "type", "bridge")
            self._ip("addr", "add", address, "dev", f"br{number}")
            self._ip("link", "set", f"br{number}", "up")
            # hostapd wants an interface of its own for each VLAN; the port itself joins the bridge.
            self._ip("link", "add", f"stub{number}", "type", "veth", "peer", "name", f"stub{number}p")
            self._ip("link", "set", f"stub{number}", "up")
        self._ip("link", "add", "port1", "type", "veth", "peer", "name", self.interface, "netns", self.device.namespace)
        self._ip("link", "set", "port1", "up")
        inside = ["ip", "-n", self.device.namespace]
        run([*inside, "link", "set", self.interface, "address", self.device.station])
        run([*inside, "link", "set", self.interface, "up"])
        for address in self.vlans.values():
            # No DHCP here: the device has an address in each VLAN, and reaches the one that it is in.
            net, _, length = address.partition("/")
            run([*inside, "addr", "add", f"{net.rsplit('.', 1)[0]}.10/{length}", "dev", self.interface])
        uplink = f"{self.tag}u"
        run(["ip", "link", "add", uplink, "type", "veth", "peer", "name", "uplink", "netns", self.namespace])
        self._made.append(["ip", "link", "del", uplink])
        run(["ip", "addr", "add", f"{self.server_address}/24", "dev", uplink])
        run(["ip", "link", "set", uplink, "up"])
        self._ip("addr", "add", f"{self.nas_address}/24", "dev", "uplink")
        self._ip("link", "set", "uplink", "up")

    def _start_hostapd(self) -> None:
        (self.folder / "vlans").write_text("".join(f"{n} stub{n} br{n}\n" for n in self.vlans))
        config = self.folder / "hostapd.conf"
        servers = "".join(
            f"{kind}_server_addr={self.server_address}\n{kind}_server_port={port}\n"
            f"{kind}_server_shared_secret={self.secret}\n"
            for kind, port in zip(("auth", "acct"), self.radius_ports, strict=True)
        )
        config.write_text(
            f"""\
interface=port1
driver=wired
logger_stdout=-1
logger_stdout_level=1
ctrl_interface={self.folder}/ctrl
ieee8021x=1
eapol_version=2
use_pae_group_addr=1
# Any number above zero: without it, hostapd ignores the Session-Timeout's re-authentication.
eap_reauth_period=3600
eap_server=0
own_ip_addr={self.nas_address}
nas_identifier={self.name}
{servers}radius_request_cui=1
radius_acct_interim_interval=60
radius_das_port=3799
radius_das_client={self.server_address} {self.das_secret}
radius_das_time_window=300
radius_das_require_event_timestamp=1
radius_das_require_message_authenticator=1
# 61, NAS-Port-Type: Ethernet. hostapd says Wireless-802.11 otherwise, also on a wire.
radius_auth_req_attr=61:d:15
radius_acct_req_attr=61:d:15
dynamic_vlan=1
vlan_file={self.folder}/vlans
"""
        )
        self.hostapd = start(
            "hostapd",
            [*self.inside(), "hostapd", "-dd", "-t", config],
            log=self.log,
            ready=lambda: "AP-ENABLED" in self.text(),
        )
        script = self.folder / "open-and-close"
        script.write_text(_OPEN_AND_CLOSE.format(folder=self.folder))
        script.chmod(0o755)
        self._actions = start(
            "hostapd_cli",
            [*self.inside(), "hostapd_cli", "-p", f"{self.folder}/ctrl", "-i", "port1", "-a", script],
            log=self.folder / "actions.log",
            ready=lambda: "monitor attached" in self.text(),
        )

    def inside(self) -> list[str]:
        """The words that run a command in the switch."""
        return ["ip", "netns", "exec", self.namespace]

    def text(self) -> str:
        """hostapd's log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def actions(self) -> list[str]:
        """What the port did: `opened STATION vlan N`, `closed STATION`."""
        path = self.folder / "actions.log"
        return [line for line in path.read_text(errors="replace").splitlines() if line.startswith(("opened", "closed"))]

    def vlan(self) -> int | None:
        """The VLAN that the port is in now; None while it is closed."""
        shown = run(["ip", "-n", self.namespace, "-o", "link", "show", "dev", "port1"]).split()
        return int(shown[shown.index("master") + 1].removeprefix("br")) if "master" in shown else None

    def refusals(self) -> int:
        """How many authentications hostapd has seen fail."""
        return self.text().count("CTRL-EVENT-EAP-FAILURE2")

    def wait_open(self, timeout: float = 20.0) -> int:
        """Until the port is open; returns its VLAN."""
        wait_for(lambda: self.vlan() is not None, f"{self.name} to open its port", timeout)
        vlan = self.vlan()
        if vlan is None:
            raise AssertionError(f"{self.name} closed its port again")
        return vlan

    def wait_closed(self, timeout: float = 20.0, interval: float = 0.02) -> None:
        """Until the port is closed."""
        wait_for(lambda: self.vlan() is None, f"{self.name} to close its port", timeout, interval)

"""A switch in a network namespace: hostapd guards each port, and RADIUS decides who may use it.

Without `vlans`, hostapd's state says whether a port is open. With them, a port is in no bridge until hostapd authorizes
it; then it joins the bridge of the VLAN that RADIUS named, so what the device reaches shows what it was granted.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.harness.device import DeviceNetwork, new_tag
from tests.harness.freeradius import SECRET
from tests.harness.private_net import next_link
from tests.harness.process import Daemon, run, start, wait_for
from tests.harness.relay import Drop, Relay

# What a switch does by itself. hostapd forgets a station 5 s after its end; only then may it be asked again.
_OPEN_AND_CLOSE = """\
#!/bin/sh
# The controlled port follows hostapd's events.
cli="hostapd_cli -p {folder}/ctrl -i $1"
ask_again() {{
	for _ in $(seq 100); do
		$cli sta "$1" | grep -q '^FAIL' && exec $cli new_sta "$1"
		sleep 0.1
	done
}}
case "$2" in
AP-STA-CONNECTED|CTRL-EVENT-EAP-SUCCESS2)
	vlan=$($cli sta "$3" | sed -n 's/^vlan_id=//p')
	[ -n "$vlan" ] && ip link set "$1" master "br$vlan" && echo "opened $3 vlan $vlan" ;;
AP-STA-DISCONNECTED)
	ip link set "$1" nomaster && echo "closed $3"
	ask_again "$3" >/dev/null 2>&1 & ;;
esac
"""


class Cable(NamedTuple):
    """What is plugged into a port: a device, and the name of its interface."""

    device: DeviceNetwork
    interface: str


@dataclass
class Switch:
    """A switch that asks the RADIUS server at `server_address`, which is this host, from `nas_address`.

    auth_port, acct_port: of the RADIUS server; acct_port None: no accounting.
    cables: what is plugged into ports 1, 2, and so on. Empty: one port, with a device that belongs to the switch.
    vlans: number -> the address of a host in that VLAN, with its prefix length. Empty: no VLANs.
    drop: what a relay between the switch and `auth_port` loses; `relay` counts. None: no relay.
    more_servers: address and port of RADIUS servers that are asked when the first one does not answer.
    retry_primary: seconds after which the first one is asked again.
    """

    folder: Path
    auth_port: int
    acct_port: int | None = None
    secret: str = SECRET
    name: str = "switch-1"
    cables: Sequence[Cable] = ()
    vlans: Mapping[int, str] = field(default_factory=dict)
    drop: Drop | None = None
    more_servers: list[tuple[str, int]] = field(default_factory=list)
    retry_primary: int | None = None
    ipv6: bool = False
    das_secret: str = "das-secret"
    hostapd: Daemon | None = None
    relay: Relay | None = None

    def __post_init__(self) -> None:
        if self.ipv6 and self.drop is not None:
            raise ValueError("the relay has IPv4 addresses only")
        self.tag = new_tag()
        self.server_address, self.nas_address, self._prefix = next_link(ipv6=self.ipv6)
        self._stack = contextlib.ExitStack()

    @property
    def namespace(self) -> str:
        return f"{self.tag}-sw"

    @property
    def log(self) -> Path:
        return self.folder / "hostapd.log"

    @property
    def device(self) -> DeviceNetwork:
        """What is plugged into port 1."""
        return self.cables[0].device

    @property
    def _control(self) -> Path:
        return self.folder / "ctrl"

    @property
    def _ports(self) -> list[str]:
        return [f"port{number}" for number in range(1, len(self.cables) + 1)]

    def __enter__(self) -> Switch:
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            if not self.cables:
                self.cables = (Cable(stack.enter_context(DeviceNetwork()), "eth0"),)
            self._add_namespace(stack)
            self._add_vlans()
            for port, cable in zip(self._ports, self.cables, strict=True):
                self._plug(port, cable)
            self._add_uplink(stack)
            if self.drop is not None:
                self.relay = stack.enter_context(Relay(self.auth_port, self.drop, self.server_address))
            self.hostapd = self._start_hostapd()
            stack.callback(self._stop_hostapd)
            if self.vlans:
                for port in self._ports:
                    stack.callback(self._start_opener(port).stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _ip(self, *arguments: str) -> None:
        run(["ip", "-n", self.namespace, *arguments])

    def _add_namespace(self, stack: contextlib.ExitStack) -> None:
        run(["ip", "netns", "add", self.namespace])
        stack.callback(subprocess.run, ["ip", "netns", "del", self.namespace], check=False, capture_output=True)
        self._ip("link", "set", "lo", "up")

    def _add_vlans(self) -> None:
        for number, address in self.vlans.items():
            self._ip("link", "add", f"br{number}", "type", "bridge")
            self._ip("addr", "add", address, "dev", f"br{number}")
            self._ip("link", "set", f"br{number}", "up")
            # hostapd wants an interface of its own for each VLAN; the port itself joins the bridge.
            self._ip("link", "add", f"stub{number}", "type", "veth", "peer", "name", f"stub{number}p")
            self._ip("link", "set", f"stub{number}", "up")

    def _plug(self, port: str, cable: Cable) -> None:
        device, interface = cable
        self._ip("link", "add", port, "type", "veth", "peer", "name", interface, "netns", device.namespace)
        self._ip("link", "set", port, "up")
        device.set_station(interface, device.station)
        run(["ip", "-n", device.namespace, "link", "set", interface, "up"])
        for address in self.vlans.values():
            # Without DHCP, the device has an address in each VLAN and reaches the one that its port is in.
            net, _, length = address.partition("/")
            own = f"{net.rsplit('.', 1)[0]}.10/{length}"
            run(["ip", "-n", device.namespace, "addr", "add", own, "dev", interface])

    def _add_uplink(self, stack: contextlib.ExitStack) -> None:
        here = f"{self.tag}u"
        run(["ip", "link", "add", here, "type", "veth", "peer", "name", "uplink", "netns", self.namespace])
        stack.callback(subprocess.run, ["ip", "link", "del", here], check=False, capture_output=True)
        # No duplicate address detection: the addresses are needed at once.
        options = ["nodad"] if self.ipv6 else []
        run(["ip", "addr", "add", f"{self.server_address}/{self._prefix}", *options, "dev", here])
        run(["ip", "link", "set", here, "up"])
        self._ip("addr", "add", f"{self.nas_address}/{self._prefix}", *options, "dev", "uplink")
        self._ip("link", "set", "uplink", "up")

    def _server(self, kind: str, address: str, port: int) -> str:
        return f"{kind}_server_addr={address}\n{kind}_server_port={port}\n{kind}_server_shared_secret={self.secret}\n"

    def _write_config(self, number: int, port: str) -> Path:
        servers = self._server("auth", self.server_address, self.relay.port if self.relay else self.auth_port)
        servers += "".join(self._server("auth", *server) for server in self.more_servers)
        if self.retry_primary is not None:
            servers += f"radius_retry_primary_interval={self.retry_primary}\n"
        if self.acct_port is not None:
            servers += self._server("acct", self.server_address, self.acct_port) + "radius_acct_interim_interval=60\n"
        vlans = f"dynamic_vlan=1\nvlan_file={self.folder}/vlans\n" if self.vlans else ""
        config = self.folder / f"{port}.conf"
        config.write_text(
            f"""\
interface={port}
driver=wired
logger_stdout=-1
logger_stdout_level=1
ctrl_interface={self._control}
ieee8021x=1
eapol_version=2
use_pae_group_addr=1
# Any number above zero: without it, hostapd ignores the Session-Timeout's re-authentication.
eap_reauth_period=3600
eap_server=0
own_ip_addr={self.nas_address}
nas_identifier={self.name}
{servers}radius_request_cui=1
# hostapd cannot share this socket between ports.
radius_das_port={3798 + number}
radius_das_client={self.server_address} {self.das_secret}
radius_das_time_window=300
radius_das_require_event_timestamp=1
radius_das_require_message_authenticator=1
# 61, NAS-Port-Type: Ethernet. hostapd says Wireless-802.11 otherwise, also on a wire.
radius_auth_req_attr=61:d:15
radius_acct_req_attr=61:d:15
{vlans}"""
        )
        return config

    def _start_hostapd(self) -> Daemon:
        (self.folder / "vlans").write_text("".join(f"{n} stub{n} br{n}\n" for n in self.vlans))
        configs = [self._write_config(number, port) for number, port in enumerate(self._ports, 1)]
        enabled = self.text().count("AP-ENABLED") + len(configs)
        return start(
            "hostapd",
            [*self.inside(), "hostapd", "-dd", "-t", *configs],
            log=self.log,
            ready=lambda: self.text().count("AP-ENABLED") == enabled,
        )

    def _stop_hostapd(self) -> None:
        if self.hostapd:
            self.hostapd.stop()

    def _start_opener(self, port: str) -> Daemon:
        script = self.folder / "open-and-close"
        script.write_text(_OPEN_AND_CLOSE.format(folder=self.folder))
        script.chmod(0o755)
        attached = self.text().count("monitor attached") + 1
        return start(
            "hostapd_cli",
            [*self.inside(), "hostapd_cli", "-p", self._control, "-i", port, "-a", script],
            log=self.folder / "actions.log",
            ready=lambda: self.text().count("monitor attached") == attached,
        )

    def inside(self) -> list[str]:
        """The words that run a command in the switch."""
        return ["ip", "netns", "exec", self.namespace]

    def _hostapd_cli(self, port: int, *command: str) -> str:
        return run([*self.inside(), "hostapd_cli", "-p", self._control, "-i", self._ports[port - 1], *command])

    def crash_and_restart(self) -> None:
        """End hostapd without a farewell, and start it again."""
        assert self.hostapd is not None
        self.hostapd.kill()
        for port in self._ports:
            (self._control / port).unlink(missing_ok=True)
        self.hostapd = self._start_hostapd()

    # What is plugged into port 1.

    def attach(self, config: Path, station: str) -> Daemon:
        """Start the device with this MAC address. `authorized` and `refused` show the outcome.

        `config` names FOLDER/wpa as its ctrl_interface.
        """
        device, interface = self.cables[0]
        device.set_station(interface, station)
        log = self.folder / f"wpa-{station.replace(':', '')}.log"
        return device.start_supplicant(interface, config, log, self.folder / "wpa")

    def plug_in(self, config: Path, name: str = "wpa") -> Daemon:
        """Start the device; returns once its port is authorized."""
        # hostapd forgets a station 5 s after its end, even one that has connected again in between.
        wait_for(lambda: not self.stations(), "hostapd to forget the last device", timeout=15)
        before = self.connections()
        device, interface = self.cables[0]
        supplicant = device.start_supplicant(interface, config, self.folder / f"{name}.log")
        try:
            wait_for(lambda: self.connections() > before, "the port to be authorized", timeout=15)
        except AssertionError:
            supplicant.stop()
            raise
        return supplicant

    def wpa_cli(self, *command: str) -> str:
        """One command to a device that `attach` started."""
        device, interface = self.cables[0]
        return device.wpa_cli(interface, self.folder / "wpa", *command)

    # What hostapd says.

    def text(self) -> str:
        """hostapd's log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def authorized(self, station: str | None = None, port: int = 1) -> bool:
        """Whether a port is open to `station` now (None: to any)."""
        command = ["sta", station] if station else ["all_sta"]
        return "flags=[AUTHORIZED]" in self._hostapd_cli(port, *command)

    def stations(self, port: int = 1) -> list[str]:
        """The MAC addresses that hostapd knows on a port."""
        lines = self._hostapd_cli(port, "all_sta").splitlines()
        return [line for line in lines if line.count(":") == 5 and "=" not in line]

    def refused(self, station: str) -> int:
        """How often hostapd saw `station` fail."""
        return self.text().count(f"CTRL-EVENT-EAP-FAILURE2 {station}")

    def refusals(self, port: int = 1) -> int:
        """How many authentications hostapd saw fail on a port."""
        return self.text().count(f"{self._ports[port - 1]}: CTRL-EVENT-EAP-FAILURE2")

    def connections(self) -> int:
        return self.text().count("AP-STA-CONNECTED")

    def disconnections(self) -> int:
        return self.text().count("AP-STA-DISCONNECTED")

    # Ports that join VLANs.

    def actions(self) -> list[str]:
        """What the ports did: `opened STATION vlan N`, `closed STATION`."""
        path = self.folder / "actions.log"
        return [line for line in path.read_text(errors="replace").splitlines() if line.startswith(("opened", "closed"))]

    def vlan(self, port: int = 1) -> int | None:
        """The VLAN that a port is in now; None while it is closed."""
        shown = run(["ip", "-n", self.namespace, "-o", "link", "show", "dev", self._ports[port - 1]]).split()
        return int(shown[shown.index("master") + 1].removeprefix("br")) if "master" in shown else None

    def wait_open(self, port: int = 1, timeout: float = 20.0) -> int:
        """Until a port is open; returns its VLAN."""
        wait_for(lambda: self.vlan(port) is not None, f"{self.name} to open port {port}", timeout)
        vlan = self.vlan(port)
        if vlan is None:
            raise AssertionError(f"{self.name} closed port {port} again")
        return vlan

    def wait_closed(self, port: int = 1, timeout: float = 20.0, interval: float = 0.02) -> None:
        """Until a port is closed."""
        wait_for(lambda: self.vlan(port) is None, f"{self.name} to close port {port}", timeout, interval)

"""Real 802.1X on a wire: hostapd and wpa_supplicant in network namespaces of their own, joined by a veth pair."""

from __future__ import annotations

import itertools
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.process import Daemon, run, start, wait_for

_numbers = itertools.count(1)


@dataclass
class Wire:
    """A switch port (`hostapd`) and a place to plug a device in. The switch reaches RADIUS at `server_address`.

    Names and addresses carry the process id, so that runs side by side do not collide.
    """

    folder: Path
    auth_port: int
    acct_port: int
    secret: str
    das_secret: str = "das-secret"
    accounting: bool = True
    # More RADIUS servers, asked when the first one does not answer: (address, port).
    more_servers: list[tuple[str, int]] = field(default_factory=list)
    # Seconds after which the first one is asked again.
    retry_primary: int | None = None
    ipv6: bool = False
    hostapd: Daemon | None = None
    _made: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        number = next(_numbers)
        self.tag = f"t{os.getpid() % 100000:x}{number}"
        net = f"10.{200 + os.getpid() % 50}.{number}"
        self._ipv4 = (f"{net}.1", f"{net}.2")
        prefix = f"fd00:dade:{os.getpid() % 65536:x}:{number:x}"
        self.server_address, self.nas_address = (f"{prefix}::1", f"{prefix}::2") if self.ipv6 else self._ipv4
        self.station = "02:bb:00:00:00:01"

    @property
    def log(self) -> Path:
        return self.folder / "hostapd.log"

    @property
    def port_name(self) -> str:
        return f"{self.tag}p"

    def _in(self, place: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self.tag}-{place}"]

    def __enter__(self) -> Wire:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._make_links()
            self._start_hostapd()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self.hostapd:
            self.hostapd.stop()
        for command in reversed(self._made):
            subprocess.run(command, check=False, capture_output=True)

    def _make_links(self) -> None:
        tag = self.tag
        for place in ("sta", "ap"):
            run(["ip", "netns", "add", f"{tag}-{place}"])
            self._made.append(["ip", "netns", "del", f"{tag}-{place}"])
            run(["ip", "-n", f"{tag}-{place}", "link", "set", "lo", "up"])
        run(["ip", "link", "add", f"{tag}p", "netns", f"{tag}-ap", "type", "veth", "peer", "name", f"{tag}s",
             "netns", f"{tag}-sta"])  # fmt: skip
        run(["ip", "-n", f"{tag}-sta", "link", "set", f"{tag}s", "address", self.station])
        run(["ip", "-n", f"{tag}-ap", "link", "set", f"{tag}p", "up"])
        run(["ip", "-n", f"{tag}-sta", "link", "set", f"{tag}s", "up"])
        run(["ip", "link", "add", f"{tag}r", "type", "veth", "peer", "name", f"{tag}u", "netns", f"{tag}-ap"])
        self._made.append(["ip", "link", "del", f"{tag}r"])
        # No duplicate address detection: the addresses are needed at once.
        length = ["/64", "nodad"] if self.ipv6 else ["/24"]
        run(["ip", "addr", "add", self.server_address + length[0], *length[1:], "dev", f"{tag}r"])
        run(["ip", "link", "set", f"{tag}r", "up"])
        run(["ip", "-n", f"{tag}-ap", "addr", "add", self.nas_address + length[0], *length[1:], "dev", f"{tag}u"])
        run(["ip", "-n", f"{tag}-ap", "link", "set", f"{tag}u", "up"])

    def _start_hostapd(self) -> None:
        config = self.folder / "hostapd.conf"
        more = "".join(
            f"auth_server_addr={address}\nauth_server_port={port}\nauth_server_shared_secret={self.secret}\n"
            for address, port in self.more_servers
        )
        if self.retry_primary is not None:
            more += f"radius_retry_primary_interval={self.retry_primary}\n"
        accounting = (
            f"acct_server_addr={self.server_address}\nacct_server_port={self.acct_port}\n"
            f"acct_server_shared_secret={self.secret}\nradius_acct_interim_interval=60\n"
        )
        config.write_text(
            f"""\
interface={self.port_name}
driver=wired
logger_stdout=-1
logger_stdout_level=1
ctrl_interface={self.folder}/ctrl
ieee8021x=1
eapol_version=2
use_pae_group_addr=1
eap_reauth_period=3600
eap_server=0
own_ip_addr={self.nas_address}
nas_identifier=switch-1.port-1
auth_server_addr={self.server_address}
auth_server_port={self.auth_port}
auth_server_shared_secret={self.secret}
{more}{accounting if self.accounting else ""}radius_das_port=3799
radius_das_client={self._ipv4[0]} {self.das_secret}
radius_das_time_window=300
radius_das_require_event_timestamp=1
radius_das_require_message_authenticator=1
radius_auth_req_attr=61:d:15
radius_acct_req_attr=61:d:15
"""
        )
        before = self.text().count("AP-ENABLED")
        self.hostapd = start(
            "hostapd",
            [*self._in("ap"), "hostapd", "-dd", "-t", config],
            log=self.log,
            ready=lambda: self.text().count("AP-ENABLED") > before,
        )

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def plug_in(self, config: Path, name: str = "wpa") -> Daemon:
        """Start wpa_supplicant with a network block; returns once the port is authorized."""
        # hostapd forgets a station 5 s after it was disconnected, and one that came back meanwhile with it.
        wait_for(lambda: not self.stations(), "hostapd to forget the last device", timeout=15)
        before = self.connections()
        supplicant = start(
            "wpa_supplicant",
            [*self._in("sta"), "wpa_supplicant", "-Dwired", f"-i{self.tag}s", "-c", config, "-t"],
            log=self.folder / f"{name}.log",
            ready=(self.folder / f"{name}.log").exists,
        )
        try:
            wait_for(lambda: self.connections() > before, "the port to be authorized", timeout=15)
        except AssertionError:
            supplicant.stop()
            raise
        return supplicant

    def attach(self, config: Path, station: str) -> Daemon:
        """Start a device with a MAC address of its own; what becomes of it is for `authorized` and `refused` to say."""
        run(["ip", "-n", f"{self.tag}-sta", "link", "set", f"{self.tag}s", "address", station])
        log = self.folder / f"wpa-{station.replace(':', '')}.log"
        return start(
            "wpa_supplicant",
            [*self._in("sta"), "wpa_supplicant", "-Dwired", f"-i{self.tag}s", "-c", config, "-t"],
            log=log,
            ready=(self.folder / "wpa" / f"{self.tag}s").is_socket,
        )

    def wpa_cli(self, *command: str) -> str:
        """One command to the device, whose network block names `FOLDER/wpa` as its ctrl_interface."""
        return run([*self._in("sta"), "wpa_cli", "-p", self.folder / "wpa", "-i", f"{self.tag}s", *command])

    def authorized(self, station: str) -> bool:
        """Whether the port is open to `station` now."""
        command = [*self._in("ap"), "hostapd_cli", "-p", self.folder / "ctrl", "-i", self.port_name, "sta", station]
        return "flags=[AUTHORIZED]" in run(command)

    def refused(self, station: str) -> int:
        """How often hostapd saw `station` fail."""
        return self.text().count(f"CTRL-EVENT-EAP-FAILURE2 {station}")

    def crash_and_restart(self) -> None:
        """End hostapd without a farewell, and start it anew."""
        assert self.hostapd is not None
        self.hostapd.kill()
        (self.folder / "ctrl" / self.port_name).unlink(missing_ok=True)
        self._start_hostapd()

    def stations(self) -> list[str]:
        """The MAC addresses that hostapd knows."""
        command = [*self._in("ap"), "hostapd_cli", "-p", str(self.folder / "ctrl"), "-i", self.port_name, "all_sta"]
        return [line for line in run(command).splitlines() if line.count(":") == 5 and "=" not in line]

    def connections(self) -> int:
        return self.text().count("AP-STA-CONNECTED")

    def disconnections(self) -> int:
        return self.text().count("AP-STA-DISCONNECTED")

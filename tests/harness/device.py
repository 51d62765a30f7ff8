"""A device at the far end of a cable: a network namespace, and wpa_supplicant as its 802.1X client."""

from __future__ import annotations

import itertools
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness.process import Daemon, run, start

_numbers = itertools.count(1)


def new_tag() -> str:
    """The first part of a namespace's name. It holds the process ID, so test runs side by side do not collide."""
    return f"d{os.getpid() % 100000:x}n{next(_numbers)}"


@dataclass
class DeviceNetwork:
    """A device's network namespace. An interface appears in it when a `Switch` is plugged in.

    station: the MAC address that each of its interfaces gets.
    """

    station: str = "02:bb:00:00:00:01"
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
        """The words that run a command in this namespace."""
        return ["ip", "netns", "exec", self.namespace]

    def set_station(self, interface: str, station: str) -> None:
        """Give an interface another MAC address."""
        run(["ip", "-n", self.namespace, "link", "set", interface, "address", station])

    def reaches(self, address: str) -> bool:
        """Whether a ping is answered."""
        command = [*self.inside(), "ping", "-n", "-c", "1", "-W", "1", address]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def start_supplicant(self, interface: str, config: Path, log: Path, control: Path | None = None) -> Daemon:
        """Start wpa_supplicant with a network block.

        control: the ctrl_interface folder that `config` names. With it, `wpa_cli` works as soon as this returns.
        """
        return start(
            "wpa_supplicant",
            [*self.inside(), "wpa_supplicant", "-Dwired", f"-i{interface}", "-c", config, "-t"],
            log=log,
            ready=(control / interface).is_socket if control else log.exists,
        )

    def wpa_cli(self, interface: str, control: Path, *command: str) -> str:
        """One command to the running wpa_supplicant; returns its answer."""
        return run([*self.inside(), "wpa_cli", "-p", control, "-i", interface, *command])

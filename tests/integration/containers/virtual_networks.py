"""The networks of a compose file: a bridge for each, in a network namespace that no other traffic reaches."""

from __future__ import annotations

import ipaddress
import itertools
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.harness.process import run

_ids = itertools.count(1)


@dataclass
class VirtualNetworks:
    """Bridges, and a network namespace for each container. subnets: by network; None: any free one.

    The bridges have no address and no way out: containers reach each other only, whatever the networks' `internal`.
    """

    subnets: Mapping[str, str | None]
    _taken: dict[str, set[str]] = field(default_factory=dict)
    _namespaces: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._tag = f"c{os.getpid() % 100000:x}x{next(_ids)}"
        spare = (f"10.84.{number}.0/24" for number in itertools.count(1))
        self._nets = {name: ipaddress.ip_network(subnet or next(spare)) for name, subnet in self.subnets.items()}
        self._bridges = {name: f"br{number}" for number, name in enumerate(self._nets)}
        self._taken = {name: {str(net[0]), str(net[1])} for name, net in self._nets.items()}
        self._links = itertools.count(1)

    def __enter__(self) -> VirtualNetworks:
        self._hub = self._add_namespace("hub")
        for bridge in self._bridges.values():
            self._ip(self._hub, "link", "add", bridge, "type", "bridge", "forward_delay", "0")
            self._ip(self._hub, "link", "set", bridge, "up")
        return self

    def __exit__(self, *exc: object) -> None:
        for namespace in self._namespaces:
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)

    def _add_namespace(self, name: str) -> str:
        namespace = f"{self._tag}-{name}"
        run(["ip", "netns", "add", namespace])
        self._namespaces.append(namespace)
        self._ip(namespace, "link", "set", "lo", "up")
        return namespace

    def _ip(self, namespace: str, *words: str) -> None:
        run(["ip", "-n", namespace, *words])

    def addresses(self, wanted: Mapping[str, Mapping[str, str | None]]) -> dict[str, dict[str, str]]:
        """The address of each container in each of its networks. wanted: fixed addresses, None for any."""
        for nets in wanted.values():
            for net, address in nets.items():
                if address:
                    self._taken[net].add(address)
        return {name: {net: fixed or self._free(net) for net, fixed in nets.items()} for name, nets in wanted.items()}

    def _free(self, net: str) -> str:
        address = next(str(host) for host in self._nets[net].hosts() if str(host) not in self._taken[net])
        self._taken[net].add(address)
        return address

    def attach(self, name: str, addresses: Mapping[str, str]) -> str:
        """A network namespace for one container, with an interface in each of its networks. Returns its name.

        A container that starts again has the one from before.
        """
        if f"{self._tag}-{name}" in self._namespaces:
            return f"{self._tag}-{name}"
        namespace = self._add_namespace(name)
        for number, (net, address) in enumerate(addresses.items()):
            port = f"p{next(self._links)}"
            peer = ["type", "veth", "peer", "name", f"eth{number}", "netns", namespace]
            self._ip(self._hub, "link", "add", port, *peer)
            self._ip(self._hub, "link", "set", port, "master", self._bridges[net], "up")
            self._ip(namespace, "addr", "add", f"{address}/{self._nets[net].prefixlen}", "dev", f"eth{number}")
            self._ip(namespace, "link", "set", f"eth{number}", "up")
        return namespace

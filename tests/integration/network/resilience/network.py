"""The daemons of these tests, how devices and switches are made, and scenarios that run beside the tests."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from dane_radius.local.control_socket import ask
from tests.harness.eap import write_peer_config
from tests.harness.freeradius import SECRET, FreeRadius
from tests.harness.knot import Knot
from tests.harness.pki import Authority, Identity
from tests.harness.process import wait_for
from tests.harness.switch import Switch
from tests.harness.unbound import Unbound

ZONE = "iot.example"
POLICY = """\
version: 1
session: {ttl_factor: 1, minimum: 30}
rules:
  - name: everything
    identity: ["**.iot.example"]
    grant: {vlan: 42, session_timeout: 8h}
"""
# Clients that sign each request, and one that does not have to.
STRICT, FORGETFUL = "127.0.0.1", "127.0.0.66"
# Switches on IPv4 and IPv6 uplinks, as docs/switch.md has them.
_CLIENTS = f"""\
client switches {{
	ipaddr = 10.0.0.0/8
	secret = {SECRET}
	require_message_authenticator = yes
}}
client switches-ipv6 {{
	ipv6addr = fd00:dade::/32
	secret = {SECRET}
	require_message_authenticator = yes
}}
client forgetful {{
	ipaddr = {FORGETFUL}
	secret = {SECRET}
	require_message_authenticator = no
}}
"""

_numbers = itertools.count(1)
T = TypeVar("T")


def next_name() -> str:
    """A device name that no other test uses."""
    return f"d{next(_numbers)}._device.{ZONE}"


@dataclass
class Network:
    """The daemons, and how devices and switches are made."""

    folder: Path
    knot: Knot
    unbound: Unbound
    ca: Authority
    stack: contextlib.ExitStack
    main: FreeRadius = field(init=False)

    def server(self, name: str, **options: Any) -> FreeRadius:
        """A RADIUS server, ready to start."""
        radius = FreeRadius(self.folder / name, self.unbound.port, POLICY, [self.ca], **options)
        radius.prepare()
        clients = radius.raddb / "clients.conf"
        clients.write_text(clients.read_text() + _CLIENTS)
        # A reply is kept for as long as a NAS may ask for it again: hostapd and eapol_test do so after 3 and 9 s.
        conf = radius.raddb / "radiusd.conf"
        conf.write_text(conf.read_text().replace("cleanup_delay = 1\n", "cleanup_delay = 10\n"))
        return radius

    def switch(self, radius: FreeRadius, **options: Any) -> Switch:
        """A switch with one port that asks `radius`."""
        return Switch(self.folder / f"switch{next(_numbers)}", radius.auth_port, radius.acct_port, **options)

    def device(self, *, vouched: bool = True, ttl: int = 3600) -> tuple[str, Identity]:
        """A name and its device; without `vouched`, the DNS holds no record of it."""
        name = next_name()
        device = self.ca.issue(name)
        if vouched:
            self.vouch(name, device, ttl)
        return name, device

    def vouch(self, name: str, device: Identity, ttl: int = 3600) -> None:
        """Publish the record of a device."""
        self.knot.add_tlsa(ZONE, name, str(device.tlsa()), ttl)

    def revoke(self, name: str) -> None:
        """Delete the record of a device."""
        self.knot.delete_tlsa(ZONE, name)

    def forget(self, server: FreeRadius, name: str) -> None:
        """Flush a name from the resolver's cache and from the server's."""
        self.unbound.flush(name)
        ask(str(server.control_socket), "flush", name=name)

    def peer(
        self,
        radius: FreeRadius,
        device: Identity,
        *,
        tls: str = "1.3",
        switch: Switch | None = None,
        chain: bytes = b"",
    ) -> Path:
        """A network block for eapol_test, or for wpa_supplicant at `switch`."""
        path = write_peer_config(
            self.folder / "peers",
            device,
            identity=f"anonymous@{ZONE}",
            server_ca=radius.server_ca_file,
            tls=tls,
            name=f"p{next(_numbers)}",
            chain=chain,
        )
        if switch:
            path.write_text(f"ctrl_interface={switch.folder}/wpa\nap_scan=0\n{path.read_text()}")
        return path


def accepts(radius: FreeRadius, station: str) -> int:
    """How many accepts of a station the decision log holds."""
    return sum(1 for decision in radius.decisions_about(station) if decision["verdict"] == "accept")


def wait_accepts(radius: FreeRadius, station: str, count: int = 1, timeout: float = 10.0) -> None:
    """Until the decision log, which is written a moment after the answer, holds `count` accepts of a station."""
    wait_for(lambda: accepts(radius, station) >= count, f"{count} accepts of {station} in the log", timeout, 0.05)


_scenarios: list[Callable[[Network], Any]] = []


def scenario(function: Callable[[Network], T]) -> Callable[[Network], T]:
    """Marks a scenario that mostly waits: it runs in a thread, beside the tests, from the first test on.

    It arranges, acts, and returns what it observed; the test that asks `Scenarios` for the result judges that.
    """
    _scenarios.append(function)
    return function


class Scenarios:
    """The running scenarios of the test files that were collected."""

    def __init__(self, pool: ThreadPoolExecutor, net: Network) -> None:
        self._running: dict[object, Future[Any]] = {one: pool.submit(one, net) for one in _scenarios}

    @staticmethod
    def pool() -> ThreadPoolExecutor:
        """Threads for all scenarios."""
        return ThreadPoolExecutor(max(1, len(_scenarios)))

    def result(self, function: Callable[[Network], T]) -> T:
        """What a scenario observed, once it has ended. Raises what it raised."""
        return cast(T, self._running[function].result())

"""What the scenarios run on: Knot, a DNS relay that makes it far away, Unbound, and RADIUS servers side by side."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from tests.bench import report
from tests.bench.arms import Arm, machine_cpu, process_cpu
from tests.bench.devices import Fleet, make_fleet, policy
from tests.bench.eap_client import Device
from tests.bench.load import Load, Run, closed_loop
from tests.harness.dns_delay import DnsDelay
from tests.harness.freeradius import SECRET, SERVER_NAME, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.unbound import Unbound

WARM_UP_ZONE = "warm-up.example"
_WARM_UP_DEVICES = 24
_ADMISSION_TRIES = 5
_ADMITTED_AT_ONCE = 64
# What an operator of a busy site gives Unbound. The first two lines turn off the logging that tests read.
_UNBOUND = """\
    log-queries: no
    val-log-level: 0
    outgoing-range: 8192
    num-queries-per-thread: 4096
    so-rcvbuf: 4m
    so-sndbuf: 4m
"""


@dataclass(frozen=True)
class Settings:
    """What all scenarios share. rounds: None: the scenario's own number. say: where progress goes."""

    say: Callable[[str], None]
    quick: bool = False
    rounds: int | None = None
    tls: str = "1.3"
    server_key: str = "p256"
    identity: str = "anonymous"
    cold: str = "zone"
    qname_minimisation: bool = False

    def pick(self, full: Any, quick: Any) -> Any:
        """The scenario's figure, or the one of its short form."""
        return quick if self.quick else full


@dataclass(frozen=True)
class ZoneWish:
    """Devices that a scenario wants, in a zone of their own.

    dead: its authoritative server falls silent once the resolver knows the zone.
    """

    name: str
    devices: int
    ttl: int = 3600
    dead: bool = False


@dataclass
class Stand:
    """The running whole. fleets: by zone name."""

    settings: Settings
    folder: Path
    fleets: dict[str, Fleet] = field(default_factory=dict)
    arms: list[Arm] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ca = authority("Bench CA")
        self._server_ca = authority("RADIUS server CA")
        kind = self.settings.server_key
        key = rsa.generate_private_key(65537, 2048) if kind == "rsa2048" else None
        # One certificate for all servers, so that a device's context fits each of them.
        self._server = self._server_ca.issue(SERVER_NAME, common_name=SERVER_NAME, eku=None, key=key)

    def make_fleets(self, wishes: Sequence[ZoneWish]) -> None:
        self.settings.say(f"making {sum(wish.devices for wish in wishes)} devices")
        server_ca = self.folder / "server-ca.pem"
        server_ca.write_bytes(self._server_ca.pem)
        first = 1
        for wish in wishes:
            self.fleets[wish.name] = make_fleet(
                self.ca,
                wish.name,
                wish.devices,
                self.folder / "devices",
                server_ca,
                first=first,
                ttl=wish.ttl,
                tls=self.settings.tls,
            )
            first += wish.devices

    def start_dns(self, wishes: Sequence[ZoneWish], stack: ExitStack) -> None:
        zones = [Zone(wish.name, self.fleets[wish.name].records, ttl=wish.ttl) for wish in wishes]
        self.knot = stack.enter_context(Knot(self.folder / "knot", zones))
        self.relay = stack.enter_context(DnsDelay(self.knot.port))
        stubs = {wish.name: (self.relay.address, self.relay.port) for wish in wishes}
        self._dead = [wish.name for wish in wishes if wish.dead]
        if self._dead:
            # An address for each zone: a resolver keeps what it knows of a server by address.
            addresses = tuple(f"127.9.{n // 250}.{n % 250 + 1}" for n in range(len(self._dead)))
            self._silence = stack.enter_context(DnsDelay(self.knot.port, addresses=addresses))
            stubs |= {zone: (address, self._silence.port) for zone, address in zip(self._dead, addresses, strict=True)}
        anchors = "".join(self.knot.trust_anchors(wish.name) for wish in wishes)
        extra = f"{_UNBOUND}    qname-minimisation: yes\n" if self.settings.qname_minimisation else _UNBOUND
        self.unbound = stack.enter_context(Unbound(self.folder / "unbound", stubs, anchors, extra=extra))
        self.resolver_port = self.unbound.port
        relays = [self.relay]
        if self._dead:
            self.before_resolver = stack.enter_context(DnsDelay(self.unbound.port))
            self.resolver_port = self.before_resolver.port
            relays += [self._silence, self.before_resolver]
        daemons = [one.daemon.pid for one in (self.knot, self.unbound) if one.daemon]
        self._dns_pids = [*daemons, *(relay.pid for relay in relays)]

    def start_arms(self, arms: Sequence[Arm], stack: ExitStack) -> None:
        """Fresh servers, each of them warm but for the zones that are measured."""
        self.arms = list(arms)
        for arm in arms:
            self.settings.say(f"starting: {arm.title}")
            folder = Path(tempfile.mkdtemp(prefix=f"{arm.name}-", dir=self.folder))
            server = FreeRadius(
                folder,
                self.resolver_port,
                policy(self.fleets),
                [self.ca],
                # As Debian ships it, and as an operator runs it.
                log_interval=0.5,
                log_every_login=False,
            )
            server.server_ca, server.server = self._server_ca, self._server
            stack.callback(server.stop)
            arm.set_up(server)
            arm.server = server.start()
            self.warm_up(arm)

    def load(self, arm: Arm, think: float = 0.0) -> Load:
        """How devices behave at a server."""
        address = ("127.0.0.1", arm.server.auth_port)
        return Load(address, SECRET.encode(), anonymous=self.settings.identity == "anonymous", think=think)

    def distance(self, round_trip: float) -> None:
        """Move the authoritative server; the resolver forgets what it knew of its speed."""
        self.relay.set(round_trip=round_trip)
        self.unbound.control("flush_infra all")

    def cold(self, arm: Arm) -> None:
        """Restart the server, and have the resolver forget every device."""
        assert arm.server.daemon is not None
        arm.server.daemon.stop()
        arm.server.log.write_bytes(b"")
        arm.server.start()
        self.warm_up(arm)
        self._forget()

    def _forget(self) -> None:
        if self._dead:
            self._silence.set(black_hole=False)
        self.unbound.control("flush_infra all")
        for zone in self.fleets:
            self.unbound.control(f"flush_zone {zone}")
            if zone in self._dead or (self.settings.cold == "names" and zone != WARM_UP_ZONE):
                # The zone's keys, and that its server is there.
                self.unbound.query(f"nobody.camera._device.{zone}")
        if self._dead:
            self._silence.set(black_hole=True)

    def warm_up(self, arm: Arm) -> None:
        """What a server does once (threads, tables of OpenSSL) has been done."""
        devices = self.fleets[WARM_UP_ZONE].devices
        self.admit(arm, devices)

    def measured(self, arm: Arm, run: Callable[[], Run]) -> tuple[Run, dict[str, float]]:
        """A run, and what it took: see `report.cost`."""
        before = self._clocks(arm)
        done = run()
        server, dns, machine = (after - start for after, start in zip(self._clocks(arm), before, strict=True))
        return done, report.cost(done, server, dns, machine, os.cpu_count() or 1)

    def _clocks(self, arm: Arm) -> tuple[float, float, float]:
        return arm.tree_cpu(), sum(map(process_cpu, self._dns_pids)), machine_cpu()

    def admit(self, arm: Arm, devices: Sequence[Device]) -> None:
        """Have the server admit each device, so that it knows them. Refused devices try again."""
        for _ in range(_ADMISSION_TRIES):
            done = closed_loop(self.load(arm), devices, min(_ADMITTED_AT_ONCE, len(devices)), len(devices))
            devices = [outcome.device for outcome in done.outcomes if not outcome.accepted]
            if not devices:
                return
        assert arm.server.daemon is not None
        why = dict(Counter(outcome.why for outcome in done.outcomes))
        self.settings.say(f"{arm.name}: {len(devices)} devices stay out: {why}\n{arm.server.daemon.log_tail(5)}")


@contextmanager
def stand(settings: Settings, wishes: Sequence[ZoneWish], arms: Sequence[Arm] = ()) -> Iterator[Stand]:
    """Everything that runs, and its end."""
    folder = Path(tempfile.mkdtemp(prefix="dane-bench-"))
    folder.chmod(0o755)
    wishes = [*wishes, ZoneWish(WARM_UP_ZONE, _WARM_UP_DEVICES)]
    try:
        with ExitStack() as stack:
            one = Stand(settings, folder)
            one.make_fleets(wishes)
            one.start_dns(wishes, stack)
            one.start_arms(arms, stack)
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""A load generator: many devices behind NASes, over UDP, in one thread.

`storm`, `open_loop` and `closed_loop` run authentications against a RADIUS server and tell how each one ended. Every
authentication is a full handshake. Without an answer, a NAS sends a request again, as hostapd does, and stops after
a number of attempts; a device tries once.
"""

from __future__ import annotations

import gc
import itertools
import random
import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.bench.eap_client import Conversation, Device, Peer, Verdict, nas_attributes
from tests.bench.radius import IgnoredPacket

_IDENTIFIERS = 256
_MAX_PACKET_OCTETS = 4096


@dataclass(frozen=True)
class Load:
    """How the devices and their NASes behave.

    anonymous: the EAP identity is anonymous@ZONE, with the device's zone; otherwise it is the device's name.
    think: seconds that a device takes before each of its packets but the first.
    retransmit: seconds after which a NAS sends a request again; attempts: how often it sends it at most.
    """

    server: tuple[str, int]
    secret: bytes
    anonymous: bool = True
    ssid: str = "iot"
    think: float = 0.0
    retransmit: float = 2.5
    attempts: int = 4
    sockets: int = 64


@dataclass(frozen=True)
class Outcome:
    """How one authentication ended. began, seconds: when it began after the run's begin, and how long it took."""

    device: Device
    verdict: Verdict
    began: float
    seconds: float
    retransmissions: int
    round_trips: int
    why: str | None

    @property
    def accepted(self) -> bool:
        return self.verdict is Verdict.ACCEPTED

    @property
    def ended(self) -> float:
        """Seconds after the run's begin."""
        return self.began + self.seconds


@dataclass
class Run:
    """What a run gave. cpu: the generator's own CPU seconds.

    lag: how late an authentication began, at worst; without a meaning in a closed loop, where each one waits its turn.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    lag: float = 0.0
    ignored: int = 0


@dataclass(slots=True, eq=False)
class _Attempt:
    """One device's conversation under way. serial: the number of its request, retransmissions not counted."""

    device: Device
    conversation: Conversation
    began: float
    port: _Port
    identifier: int = 0
    packet: bytes = b""
    serial: int = 0
    sent: int = 0
    retransmissions: int = 0


@dataclass(slots=True, eq=False)
class _Port:
    """A UDP source port of a NAS, which of its identifiers are in use, and how many devices it serves."""

    socket: socket.socket
    waiting: dict[int, _Attempt] = field(default_factory=dict)
    devices: int = 0
    last: int = 0

    def take(self) -> int:
        """The identifier that has been out of use for longest."""
        for _ in range(_IDENTIFIERS):
            self.last = (self.last + 1) % _IDENTIFIERS
            if self.last not in self.waiting:
                return self.last
        raise RuntimeError("more requests in flight than identifiers")


class Generator:
    """Drives conversations with one server. Use it as a context manager."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._selector = selectors.DefaultSelector()
        self._ports = [self._open() for _ in range(load.sockets)]
        self._next_port = itertools.cycle(self._ports)
        # Either delay is the same for everybody, so what is due first was put in first.
        self._thinking: deque[tuple[float, _Attempt]] = deque()
        self._unanswered: deque[tuple[float, _Attempt, int]] = deque()
        self._under_way = 0
        self._began = 0.0
        self._run = Run()

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *exc: object) -> None:
        self._selector.close()
        for port in self._ports:
            port.socket.close()

    def _open(self) -> _Port:
        port = _Port(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        port.socket.setblocking(False)
        port.socket.connect(self._load.server)
        self._selector.register(port.socket, selectors.EVENT_READ, port)
        return port

    def run(self, arrivals: Iterator[tuple[float, Device]], at_once: int | None = None) -> Run:
        """Begin each device when it arrives (seconds after the begin), and wait for the end of all.

        at_once: while so many are under way, the next one waits.
        """
        self._run = Run()
        gc.collect()
        gc.disable()
        cpu, self._began = time.process_time(), time.monotonic()
        try:
            self._drive(arrivals, at_once or len(self._ports) * _IDENTIFIERS)
        finally:
            gc.enable()
        self._run.seconds = time.monotonic() - self._began
        self._run.cpu = time.process_time() - cpu
        return self._run

    def _drive(self, arrivals: Iterator[tuple[float, Device]], at_once: int) -> None:
        coming = next(arrivals, None)
        while coming or self._under_way:
            while coming and self._under_way < at_once and time.monotonic() >= self._began + coming[0]:
                self._begin(*coming)
                coming = next(arrivals, None)
            self._send_due()
            self._receive(self._pause(coming[0] if coming and self._under_way < at_once else None))

    def _pause(self, arrival: float | None) -> float:
        """Seconds until there is something to do, unless a packet arrives."""
        due = [self._began + arrival] if arrival is not None else []
        if self._thinking:
            due.append(self._thinking[0][0])
        if self._unanswered:
            due.append(self._unanswered[0][0])
        return max(0.0, min(due, default=0.0) - time.monotonic())

    def _begin(self, arrival: float, device: Device) -> None:
        load = self._load
        identity = f"anonymous@{device.zone}" if load.anonymous else device.name
        attributes = nas_attributes(device, identity, ssid=load.ssid)
        conversation = Conversation(Peer(device.context, identity.encode()), attributes, load.secret)
        now = time.monotonic()
        self._run.lag = max(self._run.lag, now - self._began - arrival)
        self._under_way += 1
        # `run` lets no more devices begin than there are identifiers.
        port = next(port for port in self._next_port if port.devices < _IDENTIFIERS)
        port.devices += 1
        self._send(_Attempt(device, conversation, now, port))

    def _send(self, attempt: _Attempt) -> None:
        """The conversation's next request."""
        attempt.identifier = attempt.port.take()
        attempt.port.waiting[attempt.identifier] = attempt
        attempt.packet = attempt.conversation.request(attempt.identifier)
        attempt.serial += 1
        attempt.sent = 0
        self._transmit(attempt)

    def _transmit(self, attempt: _Attempt) -> None:
        attempt.sent += 1
        self._unanswered.append((time.monotonic() + self._load.retransmit, attempt, attempt.serial))
        try:
            attempt.port.socket.send(attempt.packet)
        except (BlockingIOError, ConnectionRefusedError):
            # For the NAS, the packet was lost.
            return

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._thinking and self._thinking[0][0] <= now:
            self._send(self._thinking.popleft()[1])
        while self._unanswered:
            due, attempt, serial = self._unanswered[0]
            answered = serial != attempt.serial or attempt.port.waiting.get(attempt.identifier) is not attempt
            if not answered and due > now:
                break
            self._unanswered.popleft()
            if answered:
                continue
            if attempt.sent < self._load.attempts:
                attempt.retransmissions += 1
                self._transmit(attempt)
            else:
                del attempt.port.waiting[attempt.identifier]
                self._end(attempt, Verdict.TIMEOUT)

    def _receive(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            port: _Port = key.data
            while True:
                try:
                    packet = port.socket.recv(_MAX_PACKET_OCTETS)
                except BlockingIOError:
                    break
                except ConnectionRefusedError:
                    continue
                self._take(port, packet)

    def _take(self, port: _Port, packet: bytes) -> None:
        attempt = port.waiting.get(packet[1]) if len(packet) > 1 else None
        if attempt is None:
            self._run.ignored += 1
            return
        try:
            attempt.conversation.receive(packet)
        except IgnoredPacket:
            self._run.ignored += 1
            return
        del port.waiting[attempt.identifier]
        if attempt.conversation.verdict:
            self._end(attempt, attempt.conversation.verdict)
        elif self._load.think:
            self._thinking.append((time.monotonic() + self._load.think, attempt))
        else:
            self._send(attempt)

    def _end(self, attempt: _Attempt, verdict: Verdict) -> None:
        self._under_way -= 1
        attempt.port.devices -= 1
        conversation = attempt.conversation
        self._run.outcomes.append(
            Outcome(
                attempt.device,
                verdict,
                attempt.began - self._began,
                time.monotonic() - attempt.began,
                attempt.retransmissions,
                conversation.round_trips,
                conversation.why,
            )
        )


def storm(load: Load, devices: Sequence[Device]) -> Run:
    """All of the devices at once."""
    with Generator(load) as generator:
        return generator.run((0.0, device) for device in devices)


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Arrival times of independent devices: `rate` a second on average; the same for the same seed."""
    chance = random.Random(seed)
    times: list[float] = []
    now = chance.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += chance.expovariate(rate)
    return times


def open_loop(load: Load, arrivals: Sequence[tuple[float, Device]]) -> Run:
    """Devices at their times, whatever has become of those before them. `arrivals` is in order of time."""
    with Generator(load) as generator:
        return generator.run(iter(arrivals))


def closed_loop(load: Load, devices: Sequence[Device], at_once: int, authentications: int) -> Run:
    """The next one begins when one ends. The devices take turns; there are at least `at_once` of them."""
    if len(devices) < at_once:
        raise ValueError(f"{len(devices)} devices for {at_once} at once")
    turns = itertools.islice(itertools.cycle(devices), authentications)
    with Generator(load) as generator:
        return generator.run(((0.0, device) for device in turns), at_once)

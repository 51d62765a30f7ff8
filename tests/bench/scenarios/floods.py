"""What strangers cost: EAP identities that nobody proves, and handshakes that nobody ends.

A stranger needs a name that policy covers, and a supplicant. Each identity claims another name without a trust anchor;
the worker that takes hints about them accepts connections and never answers, which keeps requests waiting for longest.
"""

from __future__ import annotations

import random
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench import report
from tests.bench.arms import Arm, resident_megabytes
from tests.bench.devices import Device
from tests.bench.eap_client import Conversation, Peer, nas_attributes
from tests.bench.load import Load, open_loop, poisson
from tests.bench.stand import Settings, Stand, ZoneWish, stand
from tests.harness.freeradius import FreeRadius

_ZONE = "flooded.example"
_DEVICES = 50
_SEED = 4
_HONEST_RATE = 20.0
_CLAIM_RATES = (20, 200)
_ANSWER_SECONDS = 5.0
_PORTS = 64


@contextmanager
def silent_worker(path: Path) -> Iterator[None]:
    """A hint socket whose server accepts every connection and says nothing."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(1024)
    held: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                held.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in held:
            connection.close()


class Strangers:
    """Conversations that are begun and left, from enough ports that no identifier is used again soon."""

    def __init__(self, load: Load, device: Device) -> None:
        self._load, self._device = load, device
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(_PORTS)]
        for port in self._sockets:
            port.settimeout(_ANSWER_SECONDS)
            port.connect(load.server)
        self._count = 0

    def claim(self, *, handshake: bool) -> None:
        """Send an identity; with `handshake`, take the answer and begin TLS, too."""
        self._count += 1
        # A handshake by a name would wait for the hint each time, and take as long.
        name = f"anonymous@{_ZONE}" if handshake else f"nobody{self._count}.camera._device.{_ZONE}"
        attributes = nas_attributes(self._device, name, ssid=self._load.ssid)
        conversation = Conversation(Peer(self._device.context, name.encode()), attributes, self._load.secret)
        port = self._sockets[self._count % _PORTS]
        for step in range(2 if handshake else 1):
            port.send(conversation.request((2 * (self._count // _PORTS) + step) % 256))
            if handshake:
                conversation.receive(port.recv(4096))

    def close(self) -> None:
        for port in self._sockets:
            port.close()


def run(settings: Settings) -> dict[str, Any]:
    """The whole measurement."""
    seconds = settings.pick(20.0, 5.0)
    # Fewer than max_sessions: beyond, the server rejects at once, and the reject waits for reject_delay.
    count = settings.pick(3500, 500)
    with tempfile.TemporaryDirectory(prefix="dane-floods-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "hints.sock"

        def hinted(server: FreeRadius) -> None:
            server.hint_socket = path
            server.prepare()

        arm = Arm("module", "EAP-TLS with the module, hints to a silent worker", 0, hinted)
        with silent_worker(path), stand(settings, [ZoneWish(_ZONE, _DEVICES)], [arm]) as here:
            devices = here.fleets[_ZONE].devices
            here.admit(arm, devices)
            rows = [_latency(here, arm, rate, seconds) for rate in (0, *_CLAIM_RATES)]
            memory = [_memory(here, arm, count, handshake=handshake) for handshake in (False, True)]
    return {"rows": rows, "memory": memory, "bars": []}


def _latency(here: Stand, arm: Arm, rate: int, seconds: float) -> dict[str, Any]:
    """Devices that the server knows authenticate while strangers claim `rate` identities a second."""
    load = here.load(arm)
    chance = random.Random(_SEED)
    devices = here.fleets[_ZONE].devices
    arrivals = [(time, chance.choice(devices)) for time in poisson(_HONEST_RATE, seconds, _SEED)]
    over = threading.Event()
    strangers = Strangers(load, devices[0])

    def flood() -> None:
        while rate and not over.wait(1 / rate):
            strangers.claim(handshake=False)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        done, taken = here.measured(arm, lambda: open_loop(load, arrivals))
    finally:
        over.set()
        thread.join()
        strangers.close()
    row = {"claims_a_second": rate, **report.summary(done.outcomes), **taken}
    here.settings.say(f"{rate} claims a second: {report.accepted_of(row)} accepted, p99 {row['p99_ms']:.1f} ms")
    return row


def _memory(here: Stand, arm: Arm, count: int, *, handshake: bool) -> dict[str, Any]:
    """What the server keeps of conversations that are left, right after the last of them."""
    here.cold(arm)
    before = resident_megabytes(arm.server)
    strangers = Strangers(here.load(arm), here.fleets[_ZONE].devices[0])
    try:
        for _ in range(count):
            strangers.claim(handshake=handshake)
    finally:
        strangers.close()
    grown = resident_megabytes(arm.server) - before
    what = "handshakes begun and left" if handshake else "identities claimed and left"
    here.settings.say(f"{count} {what}: {grown:.0f} MB more")
    return {"what": what, "count": count, "megabytes": grown, "kilobytes_each": 1024 * grown / count}


def text(figures: dict[str, Any]) -> str:
    """The tables."""
    alone = figures["rows"][0]
    columns: list[report.Column] = [
        ("claims/s", report.key("claims_a_second")),
        ("accepted", report.accepted_of),
        ("p50 ms", report.key("p50_ms", 1)),
        ("p99 ms", report.key("p99_ms", 1)),
        ("p99 / alone", lambda row: f"{row['p99_ms'] / alone['p99_ms']:.2f}"),
        ("others %", lambda row: f"{100 * row['others_share']:.0f}"),
    ]
    memory: list[report.Column] = [
        ("what", report.key("what")),
        ("count", report.key("count")),
        ("MB", report.key("megabytes", 0)),
        ("KB each", report.key("kilobytes_each", 0)),
    ]
    return f"{report.table(columns, figures['rows'])}\n\n{report.table(memory, figures['memory'])}"

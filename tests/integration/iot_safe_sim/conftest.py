"""Cards, a modem process on a real pseudo-terminal, an EST server, and a DNS that is signed and validated."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.keystore import KEY_STORE_NAMES
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.harness.knot import Knot, Zone
from tests.harness.process import Daemon, start
from tests.harness.unbound import Unbound
from tests.integration.iot_safe_sim.est_server import EstServer
from tests.integration.iot_safe_sim.tls_server import serve

__all__ = ["serve"]


@pytest.fixture
def start_modem(tmp_path: Path) -> Iterator[Callable[..., tuple[Daemon, str]]]:
    """A function that starts `iot-safe-sim modem`. It returns the process and the path of the port."""
    running: list[Daemon] = []

    def begin(state: Path, *options: str) -> tuple[Daemon, str]:
        path, log = tmp_path / f"sim{len(running)}", tmp_path / f"modem{len(running)}.log"
        command = [sys.executable, "-m", "iot_safe_sim.cli", "modem", "--pty", str(path), "--state", str(state)]
        daemon = start(
            "modem",
            [*command, *options],
            log=log,
            ready=lambda: f"ready {path}" in log.read_text(),
        )
        running.append(daemon)
        return daemon, str(path)

    yield begin
    for daemon in running:
        daemon.stop()


@pytest.fixture
def est(tmp_path: Path) -> Iterator[EstServer]:
    """A running EST server."""
    with EstServer(tmp_path / "est") as server:
        yield server


@pytest.fixture(scope="session")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Knot, Unbound]]:
    """A signed zone example.net, an unsigned one plain.net, and a validating resolver."""
    folder = tmp_path_factory.mktemp("dns")
    with Knot(folder / "knot", [Zone("example.net"), Zone("plain.net", signed=False)]) as knot:
        stubs = dict.fromkeys(("example.net", "plain.net"), ("127.0.0.1", knot.port))
        with Unbound(folder / "unbound", stubs, knot.trust_anchors("example.net")) as unbound:
            yield knot, unbound


@pytest.fixture(params=KEY_STORE_NAMES)
def card(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Card]:
    """A new card on each key store."""
    with Card(tmp_path / "state", key_store=request.param) as opened:
        yield opened


@pytest.fixture
def client(card: Card) -> IoTSafeClient:
    """The middleware on `card`."""
    return IoTSafeClient(MemoryTransport(card.applet))


@pytest.fixture
def soft(tmp_path: Path) -> Iterator[IoTSafeClient]:
    """The middleware on a card with software keys, where the key store does not matter."""
    with Card(tmp_path / "soft", key_store="software") as opened:
        yield IoTSafeClient(MemoryTransport(opened.applet))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: control sockets live in it."""
    with tempfile.TemporaryDirectory(prefix="iss-") as path:
        yield Path(path)

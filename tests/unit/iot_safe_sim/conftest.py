"""Cards for tests, on both key stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iot_safe_sim.card import Applet, Card, unprovisioned_store
from iot_safe_sim.interface import containers
from iot_safe_sim.keystore import KEY_STORE_NAMES, SoftwareKeyStore
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport
from tests.unit.iot_safe_sim.support import Terminal


@pytest.fixture(params=KEY_STORE_NAMES)
def card(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Card]:
    """A new card on each key store."""
    with Card(tmp_path / "state", key_store=request.param) as opened:
        yield opened


@pytest.fixture
def applet(tmp_path: Path) -> Applet:
    """A new card with software keys, not saved anywhere."""
    return Applet(unprovisioned_store(), SoftwareKeyStore(tmp_path / "keys"), lambda store: None)


@pytest.fixture
def terminal(applet: Applet) -> Terminal:
    """Hexadecimal commands to `applet`, selected on channel 0."""
    terminal = Terminal(applet)
    assert terminal.send("00A4040007A0000005590010") == "9000"
    return terminal


@pytest.fixture
def client(applet: Applet) -> IoTSafeClient:
    """The middleware on `applet`."""
    return IoTSafeClient(MemoryTransport(applet))


@pytest.fixture
def provisioned(client: IoTSafeClient) -> IoTSafeClient:
    """The same card with a device key."""
    client.create_key(containers.DEVICE_KEY)
    return client


@pytest.fixture
def frozen(applet: Applet) -> Callable[[], bytes]:
    """A function that returns the whole state of the card, to compare before and after a refused command."""

    def snapshot() -> bytes:
        sessions = [
            (dict(channel.signatures), dict(channel.verifications), dict(channel.public_keys))
            for channel in applet.channels
        ]
        return repr((applet.store, sorted(applet.keys.handles()), sessions)).encode()

    return snapshot

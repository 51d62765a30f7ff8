"""One network for all tests of this folder: DNS, a RADIUS server that decides by it, and switches as tests need them.

Whatever fails here, nobody is admitted without a decision, and a device with a good record is admitted in the end.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.unbound import Unbound
from tests.integration.network.resilience.network import ZONE, Network, Scenarios


@pytest.fixture(scope="package")
def net() -> Iterator[Network]:
    folder = Path(tempfile.mkdtemp(prefix="resilience-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        zone = Zone(ZONE, f"keep._device TLSA 3 1 1 {'00' * 32}\n")
        knot = stack.enter_context(Knot(folder / "knot", [zone]))
        unbound = Unbound(folder / "unbound", {ZONE: ("127.0.0.1", knot.port)}, knot.trust_anchors(ZONE))
        stack.enter_context(unbound)
        network = Network(folder, knot, unbound, authority("Resilience CA"), stack)
        network.main = stack.enter_context(network.server("main", accounting="sqlite"))
        yield network


@pytest.fixture(scope="package")
def main_server(net: Network) -> FreeRadius:
    return net.main


@pytest.fixture(scope="package", autouse=True)
def scenarios(net: Network) -> Iterator[Scenarios]:
    """The scenarios that mostly wait."""
    with Scenarios.pool() as pool:
        yield Scenarios(pool, net)

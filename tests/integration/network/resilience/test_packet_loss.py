"""A fifth of all packets is lost, in each direction, between a NAS and its RADIUS server."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.harness.eap import EapResult, authenticate, next_station
from tests.harness.pki import Identity
from tests.harness.process import wait_for
from tests.harness.relay import REPLY, REQUEST, Loss, Relay
from tests.integration.network.resilience.network import Network, Scenarios, accepts, scenario, wait_accepts

pytestmark = pytest.mark.daemons

SHARE = 0.2


@dataclass(frozen=True)
class Attempts:
    """What devices saw over a lossy path: those with a record, each until its first success, and those without."""

    dropped: Counter[str]
    admitted: list[list[EapResult]]
    refused: list[EapResult]


@scenario
def lossy_path(net: Network) -> Attempts:
    def attempt(device: Identity, tls: str, tries: int) -> list[EapResult]:
        results: list[EapResult] = []
        config = net.peer(net.main, device, tls=tls)
        while len(results) < tries and not (results and results[-1].accepted):
            results.append(authenticate(net.main, config, timeout=30, port=relay.port))
        return results

    with Relay(net.main.auth_port, Loss(SHARE, seed=11)) as relay, ThreadPoolExecutor(6) as pool:
        good = [pool.submit(attempt, net.device()[1], tls, 5) for tls in ("1.2", "1.3") * 2]
        bad = [pool.submit(attempt, net.device(vouched=False)[1], tls, 2) for tls in ("1.2", "1.3")]
        admitted = [future.result() for future in good]
        refused = [result for future in bad for result in future.result()]
    print(f"seen {dict(relay.seen)}, dropped {dict(relay.dropped)}; tries {[len(tries) for tries in admitted]}")
    return Attempts(relay.dropped, admitted, refused)


def test_over_a_lossy_path_a_device_with_a_record_is_admitted_in_the_end(net: Network, scenarios: Scenarios) -> None:
    seen = scenarios.result(lossy_path)
    assert seen.dropped[REQUEST] >= 5
    assert seen.dropped[REPLY] >= 5
    assert len(seen.admitted) == 4
    for tries in seen.admitted:
        assert tries[-1].accepted
        wait_accepts(net.main, tries[-1].station)
        assert accepts(net.main, tries[-1].station) == 1


def test_over_a_lossy_path_a_device_without_a_record_is_refused(net: Network, scenarios: Scenarios) -> None:
    seen = scenarios.result(lossy_path)
    assert len(seen.refused) == 4
    assert not any(result.accepted or result.code == "Access-Accept" for result in seen.refused)
    assert any(result.code == "Access-Reject" for result in seen.refused)
    assert [accepts(net.main, result.station) for result in seen.refused] == [0] * 4


@dataclass(frozen=True)
class LossyUplink:
    """What became of a device behind a switch with a lossy uplink."""

    dropped: Counter[str]
    authorized: bool
    station: str


@scenario
def lossy_uplink(net: Network) -> LossyUplink:
    station = next_station()
    with net.switch(net.main, drop=Loss(SHARE, seed=3)) as switch:
        assert switch.relay is not None
        with switch.attach(net.peer(net.main, net.device()[1], switch=switch), station):
            wait_for(lambda: switch.authorized(station), "the port to open", timeout=110, interval=0.2)
            print(f"under a switch: seen {dict(switch.relay.seen)}, dropped {dict(switch.relay.dropped)}")
            return LossyUplink(switch.relay.dropped, switch.authorized(station), station)


def test_a_switch_with_a_lossy_uplink_admits_its_device(net: Network, scenarios: Scenarios) -> None:
    seen = scenarios.result(lossy_uplink)
    assert seen.dropped[REQUEST] + seen.dropped[REPLY] >= 1
    assert seen.authorized
    wait_accepts(net.main, seen.station)

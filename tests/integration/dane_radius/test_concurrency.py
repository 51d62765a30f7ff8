"""Many supplicants at once: nothing is lost or left behind, and a dead zone delays no other zone's devices."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.eap import authenticate, next_station
from tests.harness.process import wait_for
from tests.integration.dane_radius.conftest import Site

pytestmark = pytest.mark.daemons

SUPPLICANTS = 16
SECONDS = 30.0
PER_RUN = 10


def test_sixteen_supplicants_for_thirty_seconds(site: Site) -> None:
    devices = []
    for number in range(SUPPLICANTS):
        name = site.name()
        device = site.ca.issue(name)
        # The server must refuse every fourth one each time, among the others.
        if number % 4:
            site.publish(name, device.tlsa(), ttl=5)
        devices.append((site.peer(device, tls="1.3" if number % 2 else "1.2"), bool(number % 4)))
    assert site.radius.daemon is not None
    pid = site.radius.daemon.pid
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    before = Counter(d["verdict"] for d in site.radius.decisions())
    stop = time.monotonic() + SECONDS
    outcomes: Counter[tuple[bool, str]] = Counter()
    lock = threading.Lock()

    def supplicant(config: Path, good: bool) -> None:
        station = next_station()
        while time.monotonic() < stop:
            result = authenticate(site.radius, config, station=station, repeat=PER_RUN - 1 if good else 0, timeout=60)
            answers = Counter(
                line.split("code=")[1].split()[0]
                for line in result.output.splitlines()
                if "RADIUS message: code=" in line
            )
            with lock:
                outcomes[good, "accept"] += answers["2"]
                outcomes[good, "reject"] += answers["3"]
                outcomes[good, "success" if result.accepted else "failure"] += 1

    with ThreadPoolExecutor(SUPPLICANTS) as pool:
        for done in [pool.submit(supplicant, *device) for device in devices]:
            done.result()

    assert site.radius.daemon.running, "the server died"
    assert outcomes[True, "reject"] == 0
    assert outcomes[True, "failure"] == 0
    assert outcomes[False, "accept"] == 0
    assert outcomes[False, "success"] == 0
    assert outcomes[True, "accept"] > SUPPLICANTS * PER_RUN
    everything = outcomes[True, "accept"] + outcomes[False, "reject"] + before.total()
    wait_for(lambda: len(site.radius.decisions()) >= everything, "the last lines of the decision log")
    made = Counter(d["verdict"] for d in site.radius.decisions())
    assert made["accept"] - before["accept"] == outcomes[True, "accept"], (
        "the server's count of accepts differs from the peers'"
    )
    assert made["reject"] - before["reject"] == outcomes[False, "reject"]
    assert list(site.radius.session_dir.iterdir()) == [], "session files were left behind"
    # The resolver's four sockets, and four descriptors that are kept for requests that wait.
    wait_for(
        lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) <= descriptors + 8, "descriptors to be closed again", 15
    )


def test_a_silent_resolver_for_one_zone_leaves_others_alone(site: Site) -> None:
    """The DNS is silent: the server still admits devices with cached answers, while others wait and are refused."""
    name = site.name()
    device = site.ca.issue(name)
    site.publish(name, device.tlsa(), ttl=3600)
    known = site.peer(device)
    assert authenticate(site.radius, known).accepted
    unknown = [site.peer(site.ca.issue(site.name())) for _ in range(12)]
    assert site.unbound.daemon is not None
    site.unbound.daemon.signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(16) as pool:
            waiting = [pool.submit(authenticate, site.radius, config) for config in unknown]
            healthy = [pool.submit(authenticate, site.radius, known) for _ in range(4)]
            results = [done.result() for done in healthy]
            assert [result.accepted for result in results] == [True] * len(results)
            refused = [done.result() for done in waiting]
    finally:
        site.unbound.daemon.signal(signal.SIGCONT)
    reasons = {site.radius.decision_for(result.station)["reason"] for result in refused}
    assert all(result.code == "Access-Reject" for result in refused)
    assert reasons <= {"dns_unavailable", "dns_overloaded"}
    assert "dns_unavailable" in reasons

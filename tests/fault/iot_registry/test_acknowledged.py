"""kill -9 while many devices enroll at once: every certificate that was delivered stays valid."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.harness.process import wait_for
from tests.integration.iot_registry import load
from tests.integration.iot_registry.conftest import serving
from tests.integration.iot_registry.parts import Registry, wait_tlsa

pytestmark = pytest.mark.daemons

ROUNDS = 3
DEVICES = 120
RATE = 80


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_what_was_handed_out_outlives_the_registry(tmp_path: Path, backend: str) -> None:
    """Enrollments share commits and DNS updates; none may be acknowledged before its own."""
    with serving(backend, tmp_path) as registry:
        for number in range(ROUNDS):
            enrollments = load.prepare(registry, tmp_path, f"r{number}x", DEVICES)
            outcomes = _interrupted(registry, enrollments)
            registry.start()
            acknowledged = {outcome.name for outcome in outcomes if outcome.status == 200}
            print(f"round {number}: {len(acknowledged)} of {DEVICES} acknowledged before the kill")
            assert 0 < len(acknowledged) < DEVICES
            for enrollment in enrollments:
                if enrollment.name in acknowledged:
                    assert registry.device(enrollment.name)["certificates"][0]["status"] == "current"
                    wait_tlsa(registry.knot, enrollment.name, {enrollment.record}, seconds=30)
            # The others were not granted, or their answer was lost: the same request gets the certificate.
            others = [enrollment for enrollment in enrollments if enrollment.name not in acknowledged]
            again = load.run(registry, others, RATE)
            assert {outcome.status for outcome in again} == {200}


def _interrupted(registry: Registry, enrollments: list[load.Enrollment]) -> list[load.Outcome]:
    """The outcomes of the enrollments when the registry is killed meanwhile."""
    outcomes: list[load.Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.extend(load.run(registry, enrollments, RATE)))
    thread.start()
    third = enrollments[len(enrollments) // 3].name
    wait_for(lambda: registry.knot.tlsa(third), "a third to be published", timeout=60)
    assert registry.daemon
    registry.daemon.kill()
    thread.join()
    return outcomes

"""Many devices at once: each gets its certificate, and the record of each is in the DNS."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.iot_registry import load
from tests.integration.iot_registry.parts import PostgreSQL, Registry, wait_tlsa

RATE = 50
SECONDS = 10
# On a busy machine, slow answers must not lead to refusals because of the bound per address.
OPTIONS = {"connections": {"total": 1000, "per_address": 1000}, "enrollment": {"publish_wait_seconds": 60}}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_fifty_enrollments_a_second(tmp_path: Path, backend: str) -> None:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(PostgreSQL()).url if backend == "postgresql" else None
        registry = stack.enter_context(Registry(tmp_path / "registry", url, OPTIONS).running())
        enrollments = load.prepare(registry, tmp_path, "l", RATE * SECONDS)
        outcomes = load.run(registry, enrollments, RATE)
        median, worst = load.quantile(outcomes, 0.5), load.quantile(outcomes, 0.99)
        print(f"{len(outcomes)} enrollments, {RATE} a second: p50 {median:.3f} s, p99 {worst:.3f} s")
        assert Counter(outcome.status for outcome in outcomes) == {200: RATE * SECONDS}
        # Not a performance target: the bound only separates seconds from minutes.
        assert worst < 40
        for enrollment in enrollments[:: RATE // 2]:
            wait_tlsa(registry.knot, enrollment.name, {enrollment.record})

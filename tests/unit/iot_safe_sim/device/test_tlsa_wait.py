"""Waiting for a TLSA record with a resolver that does not answer."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from iot_safe_sim.device import Resolver, TlsaState, TlsaWait
from tests.harness.pki import authority

CA = authority("CA")
DEVICE = CA.issue("device.example.net")


def test_waiting_gives_up_in_time_and_says_why() -> None:
    """Nothing listens at the address. The clock is the test's own, so no real time passes."""
    now = [0.0]
    seen: list[TlsaState] = []
    wait = TlsaWait(
        Resolver("127.0.0.1", 1, timeout=0.02),
        10.0,
        progress=lambda state, seconds: seen.append(state),
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        clock=lambda: now[0],
    )
    assert wait.wait("device.example.net", DEVICE.certificate, []) is TlsaState.UNAVAILABLE
    assert seen == [TlsaState.UNAVAILABLE]
    assert 5.0 < now[0] <= 10.0


def test_a_long_wait_says_that_it_goes_on() -> None:
    now = [0.0]
    told: list[float] = []
    wait = TlsaWait(
        Resolver("127.0.0.1", 1, timeout=0.02),
        60.0,
        progress=lambda state, seconds: told.append(seconds),
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        clock=lambda: now[0],
    )
    assert wait.wait("device.example.net", DEVICE.certificate, []) is TlsaState.UNAVAILABLE
    assert told[0] == 0.0
    assert 4 <= len(told) <= 7
    assert all(later - earlier >= 10.0 for earlier, later in pairwise(told))


def test_a_resolver_that_is_not_there_is_known_before_any_wait() -> None:
    complaints: list[str] = []
    wait = TlsaWait(Resolver("127.0.0.1", 1), 120.0, complain=complaints.append)
    checked = wait.checked("a.camera._device.example.net")
    assert checked.timeout == 0.0
    assert complaints == ["the resolver 127.0.0.1:1 does not answer (Connection refused), expected a validating one"]
    # The wait queries once and ends without a pause.
    assert (
        replace(checked, sleep=lambda seconds: pytest.fail("it waited")).wait(
            "a.camera._device.example.net", DEVICE.certificate, []
        )
        is TlsaState.UNAVAILABLE
    )

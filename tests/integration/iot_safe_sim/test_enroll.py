"""Enrollment against a real EST server over TLS, on both key stores."""

from __future__ import annotations

import pytest

from iot_safe_sim.card import Card
from iot_safe_sim.device import (
    Enrollment,
    EstError,
    Outcome,
)
from iot_safe_sim.interface import containers
from iot_safe_sim.middleware import IoTSafeClient
from tests.integration.iot_safe_sim.est_server import EstServer
from tests.integration.iot_safe_sim.support import NAME, identity_faults


def test_a_second_run_changes_nothing(est: EstServer, client: IoTSafeClient, card: Card) -> None:
    bundle = est.bundle(NAME)
    assert Enrollment(client).enroll(bundle).outcome is Outcome.ENROLLED
    before = card.applet.store
    assert Enrollment(client).enroll(bundle).outcome is Outcome.ALREADY_ENROLLED
    assert card.applet.store == before
    assert est.count("simpleenroll") == 1
    assert Enrollment(client).enroll(est.bundle(NAME), force=True).outcome is Outcome.ENROLLED
    assert est.count("simpleenroll") == 2
    assert card.keys.handles() == card.applet.store.handles()


def test_accepted_later(est: EstServer, soft: IoTSafeClient) -> None:
    """202 with Retry-After: the same request again."""
    est.later = 2
    steps: list[str] = []
    Enrollment(soft, progress=lambda step, text: steps.append(text)).enroll(est.bundle(NAME))
    assert identity_faults(soft) == []
    assert est.count("simpleenroll") == 3
    assert len({request.csr for request in est.requests}) == 1
    assert sum("asking again in 1 s" in step for step in steps) == 2


def test_accepted_never(est: EstServer, soft: IoTSafeClient) -> None:
    est.later = 1000
    with pytest.raises(EstError, match=r"still not granted after 0\.5 s"):
        Enrollment(soft, patience=0.5).enroll(est.bundle(NAME))


def test_after_an_emergency_rollover(est: EstServer, client: IoTSafeClient, card: Card) -> None:
    """The CA has another key, and every certificate is invalid. A new bundle gives a new key and certificate."""
    Enrollment(client).enroll(est.bundle(NAME))
    old = client.public_key(containers.DEVICE_KEY)
    est.new_issuing_ca()
    assert Enrollment(client).enroll(est.bundle(NAME)).outcome is Outcome.ENROLLED
    assert identity_faults(client) == []
    assert client.public_key(containers.DEVICE_KEY) != old
    assert client.read_file(containers.ISSUING_CA) == est.issuing.der
    assert len(card.keys.handles()) == 1


def test_rehomed_to_another_name(est: EstServer, soft: IoTSafeClient) -> None:
    Enrollment(soft).enroll(est.bundle(NAME))
    Enrollment(soft).enroll(est.bundle("a1b2c3.camera._device.other.example"))
    assert identity_faults(soft, "a1b2c3.camera._device.other.example") == []

"""Lookups that no request waits for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.bench.devices import client_context, station
from tests.bench.eap_client import Device
from tests.harness.process import wait_for
from tests.integration.dane_radius.waiting.place import DEAD, FAR, Place, accepted

pytestmark = pytest.mark.daemons


def test_a_name_of_a_live_session_is_looked_up_before_the_session_ends(place: Place) -> None:
    """A session ends with its certificate at the latest: here, seconds after it began."""
    name = f"short.camera._device.{FAR}"
    identity = place.ca.issue(name, days=9 / 86400, not_before=datetime.now(UTC))
    place.knot.add_tlsa(FAR, name, str(identity.tlsa()), ttl=3)
    context = client_context(identity, place.folder / "short.pem", place.folder / "server-ca.pem", "1.3")
    counted = 'dane_radius_tlsa_lookups_total{cause="session_end"}'
    before = place.radius.metric(counted)
    assert accepted(place.storm([Device(name, FAR, station(2_000_000), context)])) == 1
    wait_for(lambda: place.radius.metric(counted) == before + 1, "a lookup before the session ends", 15)


def test_the_names_above_devices_are_kept_ready(place: Place) -> None:
    """The resolver knows a zone, and the module knows a dead one, before the first device connects."""
    assert place.unbound.queries_for(f"camera._device.{FAR}") >= 1
    assert place.radius.metric('dane_radius_tlsa_lookups_total{cause="domain"}') >= 2 + len(DEAD)

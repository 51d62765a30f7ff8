"""A wait that breaks, or that FreeRADIUS cuts short."""

from __future__ import annotations

import pytest

from tests.bench.load import storm
from tests.harness.process import wait_for
from tests.integration.dane_radius.waiting.place import FAR, Place, accepted, waiting

pytestmark = pytest.mark.daemons

BROKEN_WAITS = {
    "returns at once": 'sub wait_for_answer { return "ready" }',
    "dies": "sub wait_for_answer { die 'no' }",
    "gives nothing": "sub wait_for_answer { return undef }",
    "ends the thread's interpreter": "sub wait_for_answer { my @a = (1) x 10; undef @a; return 'x' x 10000 }",
    "is not there": "1;",
}


@pytest.mark.parametrize("how", BROKEN_WAITS)
def test_a_broken_wait_admits_nobody(place: Place, how: str) -> None:
    """Whatever happens to the module that waits, cold devices are refused with their reason, and warm ones admitted."""
    radius = place.server(f"broken-{how.replace(' ', '-').replace(chr(39), '')}")
    (radius.raddb / "mods-config/dane/wait.pl").write_text(BROKEN_WAITS[how] + "\n1;\n")
    (cold,) = place.devices(FAR, 1)
    with radius:
        load = place.load(server=("127.0.0.1", radius.auth_port))
        place.relay.set(round_trip=0.3)
        assert accepted(storm(load, [cold])) == 0
        decision = radius.decision_for(cold.station)
        assert decision["reason"] == "dns_unavailable"
        assert "cut short" in decision["detail"]
        # Its lookup went on.
        place.relay.set(round_trip=0.0)
        wait_for(lambda: accepted(storm(load, [cold])) == 1, "the device to be admitted by its cached answer")
        assert radius.metric('dane_radius_dns_waits_total{result="cut_short"}') >= 1


def test_a_request_that_freeradius_cuts_short_leaves_nothing_behind(place: Place) -> None:
    radius = place.server("cut-short", dns_timeout=8)
    conf = radius.raddb / "radiusd.conf"
    text = conf.read_text()
    assert "max_request_time = 30" in text
    conf.write_text(text.replace("max_request_time = 30", "max_request_time = 5"))
    # Modules that may take longer: with this limit, the server would not start with them.
    for name in ("exec", "ntlm_auth", "echo"):
        (radius.raddb / "mods-enabled" / name).unlink()
    devices = place.devices(FAR, 3)
    with radius:
        load = place.load(server=("127.0.0.1", radius.auth_port), retransmit=1.0, attempts=20)
        place.go_dark()
        assert accepted(storm(load, devices)) == 0
        place.recover()
        wait_for(lambda: waiting(radius) == 0, "the places to be free again", 30)
        wait_for(lambda: accepted(storm(load, devices)) == 3, "the devices to be admitted", 30)
        assert radius.daemon is not None
        assert radius.daemon.running

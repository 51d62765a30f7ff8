"""Devices whose names no cache holds, with authoritative servers that are far away, silent or dead.

Each request that waits ends in its decision or its reason, whatever happens in the meantime.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from dane_radius.local.control_socket import ask
from tests.bench.devices import policy, station
from tests.bench.eap_client import Device
from tests.bench.load import closed_loop
from tests.harness.process import wait_for
from tests.integration.dane_radius.waiting.place import CROWD, DEAD, FAR, OTHER, Place, accepted, in_background

pytestmark = pytest.mark.daemons


def test_a_building_reconnects_after_a_power_cut(place: Place) -> None:
    devices = place.devices(FAR, CROWD)
    place.relay.set(round_trip=0.03)
    answered = place.waits("answered")
    run = place.storm(devices)
    assert place.reasons(devices) == {"dane_match": CROWD}
    assert accepted(run) == CROWD
    assert place.waits("answered") > answered, "no device had to wait, so this tested no wait"


def test_one_name_for_three_hundred_devices_is_asked_for_once(place: Place) -> None:
    (device,) = place.devices(FAR, 1)
    crowd = [Device(device.name, FAR, station(1_000_000 + number), device.context) for number in range(CROWD)]
    place.relay.set(round_trip=0.05)
    started = place.started
    run = place.storm(crowd)
    assert accepted(run) == CROWD
    assert place.started == started + 1


def test_devices_that_name_themselves_are_looked_up_early(place: Place) -> None:
    devices = place.devices(FAR, 20)
    early = 'dane_radius_tlsa_lookups_total{cause="identity"}'
    before = place.radius.metric(early)
    place.relay.set(round_trip=0.02)
    assert accepted(closed_loop(place.load(anonymous=False), devices, 5, 20)) == 20
    assert place.radius.metric(early) == before + 20
    # Nobody asks the DNS about a name that policy does not cover.
    (device,) = place.devices(FAR, 1)
    name = "d1.camera._device.stranger.example"
    closed_loop(place.load(anonymous=False), [replace(device, name=name)], 1, 1)
    assert place.radius.metric(early) == before + 20
    assert place.unbound.queries_for(name) == 0


def test_a_flush_while_a_request_waits_admits_nobody_by_an_old_record(place: Place) -> None:
    kept, revoked = place.devices(FAR, 2)
    place.go_dark()
    runs = [in_background(lambda device=device: place.storm([device])) for device in (kept, revoked)]
    wait_for(lambda: place.waiting == 2, "both requests to wait")
    place.knot.delete_tlsa(FAR, revoked.name)
    ask(str(place.radius.control_socket), "flush", name=revoked.name)
    ask(str(place.radius.control_socket), "flush", name=FAR, below=True)
    place.recover()
    outcomes = [run.result(30).outcomes[0] for run in runs]
    assert not outcomes[1].accepted
    assert place.reasons([revoked]) <= Counter({"tlsa_absent": 1, "dns_unavailable": 1})
    # The other answer may have come too late, but its device was not refused for its record.
    assert place.reasons([kept]) <= Counter({"dane_match": 1, "dns_unavailable": 1})


def test_a_policy_that_changes_while_a_request_waits_counts(place: Place) -> None:
    (device,) = place.devices(FAR, 1)
    place.go_dark()
    run = in_background(lambda: place.storm([device]))
    wait_for(lambda: place.waiting == 1, "the request to wait")
    try:
        text = policy(place.fleets).replace("grant: {vlan: 42, session_timeout: 8h}", "deny: true")
        place.radius.write_policy(text)
        # This may take longer than the request waits. Then the request is refused because it has no answer.
        place.radius.wait_policy()
        place.recover()
        assert not run.result(30).outcomes[0].accepted
        assert set(place.reasons([device])) == {"policy_denied"}
    finally:
        place.radius.write_policy(policy(place.fleets))
        place.radius.wait_policy()


def test_a_resolver_that_dies_while_two_hundred_wait(place: Place) -> None:
    devices = place.devices(FAR, 200)
    place.go_dark()
    run = in_background(lambda: place.storm(devices))
    wait_for(lambda: place.waiting > 100, "many requests to wait")
    assert place.unbound.daemon is not None
    place.unbound.daemon.kill()
    try:
        outcomes = run.result(60)
        assert accepted(outcomes) == 0
        assert set(place.reasons(devices)) <= {"dns_unavailable", "dns_overloaded"}
    finally:
        place.unbound.start()
        place.recover()
    # The server remembers a failed lookup for a second; after that, a next try succeeds.
    wait_for(lambda: accepted(closed_loop(place.load(), devices, 20, 200)) == 200, "all of them to be admitted", 30)


def test_a_resolver_that_restarts_is_waited_for(place: Place) -> None:
    devices = place.devices(FAR, 20)
    assert place.unbound.daemon is not None
    place.unbound.daemon.kill()
    run = in_background(lambda: place.storm(devices))
    place.unbound.start()
    again = [outcome.device for outcome in run.result(60).outcomes if not outcome.accepted]
    # On a slow host, it may restart too late for some devices. Those are admitted at once now.
    assert accepted(place.storm(again)) == len(again)
    assert len(again) < 20


def test_thirty_dead_zones_delay_no_device_of_another_zone(place: Place) -> None:
    doomed = [device for zone in DEAD for device in place.devices(zone, 4)]
    known, healthy = place.devices(OTHER, 10), place.devices(OTHER, 40)
    assert accepted(closed_loop(place.load(), known, 5, 10)) == 10
    dying = in_background(lambda: place.storm(doomed))
    wait_for(lambda: place.waiting > 20, "requests of dead zones to wait")
    # Cold and warm devices of a zone that answers, and cold ones of another zone.
    assert accepted(closed_loop(place.load(), [*known, *healthy], 5, 50)) == 50
    assert accepted(place.storm(place.devices(FAR, 5))) == 5
    assert accepted(dying.result(60)) == 0
    assert set(place.reasons(doomed)) <= {"dns_unavailable", "dns_overloaded"}


def test_the_status_names_domains_that_do_not_answer(place: Place) -> None:
    devices = place.devices(FAR, 3)
    place.go_dark()
    run = in_background(lambda: place.storm(devices))

    def slow() -> set[str]:
        status = ask(str(place.radius.control_socket), "status")
        return {entry["domain"] for entry in status["lookups"]["slow_domains"]}

    wait_for(lambda: f"_device.{FAR}" in slow(), "the domain to be slow")
    assert place.radius.metric("dane_radius_slow_domains") >= 1
    assert accepted(run.result(30)) == 0
    place.recover()
    wait_for(lambda: place.storm(place.devices(FAR, 1)).outcomes[0].accepted, "the domain to answer")
    assert f"_device.{FAR}" not in slow(), "the domain is still reported as slow after its first answer"

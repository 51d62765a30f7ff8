"""The inventory and the rules over it: what strangers present changes nothing that is known of a device."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from operations.core.standing import Subject
from operations.service import inventory, node_reports, standings, status
from operations.service.access import Principal, Scope
from operations.service.schemas import (
    Approval,
    DeviceSearch,
    Release,
    SessionsReport,
)
from operations.store import change_feed
from policy import Standing
from tests.unit.operations.asking import HOUR, device, names, put, refusal, standing_of
from tests.unit.operations.conftest import CAMERA, IDS, NOW, POLICY, WHO, Bench, admitted, refused
from web_service.core import Reason

# --- inventory


def test_an_admission_fills_the_inventory(bench: Bench) -> None:
    bench.report(admitted(at=NOW - HOUR), admitted(at=NOW, station="02-02", ssid="Home"))
    found = device(bench)
    assert (found.proven, found.admissions, found.refusals, found.zone, found.maker, found.type) == (
        True, 2, 0, "appliance", "example.net", "camera",
    )  # fmt: skip
    assert (found.first_seen, found.last_seen) == (NOW - HOUR, NOW)
    assert {place.station for place in found.places} == {"02-00-00-00-00-01", "02-02"}
    assert found.records == ["3 1 1 00ff"]
    assert [decision.reason for decision in found.admissions_kept] == ["dane_match"] * 2


def test_a_strangers_refusals_change_nothing_that_is_known_of_the_device(bench: Bench) -> None:
    bench.report(admitted(at=NOW - HOUR))
    before = device(bench)
    bench.report(*(refused(at=NOW, station="66-66", ssid="Evil", detail=str(number)) for number in range(2)))
    after = device(bench)
    for field in ("zone", "rule", "station", "nas", "ssid", "places", "records", "certificate", "admissions_kept"):
        assert getattr(after, field) == getattr(before, field), field
    assert (after.refusals, after.refusal_reason, after.standing) == (2, "tlsa_mismatch", "normal")


def test_lists_show_unproven_names_on_request_and_refused_ones(bench: Bench) -> None:
    other = "x.lock._device.other.example"
    bench.report(admitted(), refused(other))
    assert names(bench) == [CAMERA]
    assert names(bench, unproven=True) == [CAMERA, other]
    assert names(bench, refused=True) == [other]
    assert names(bench, zone="appliance") == [CAMERA]
    assert names(bench, zone="appliance", refused=True) == []
    assert names(bench, type="camera", maker="example.net", search="A1.") == [CAMERA]
    assert names(bench, search="%") == []
    put(bench, "quarantined")
    assert names(bench, standing=Standing.QUARANTINED) == [CAMERA]
    assert names(bench, standing=Standing.NORMAL) == []


def test_pages(bench: Bench) -> None:
    bench.report(*(admitted(f"{label}.camera._device.example.net") for label in "abcde"))
    first = bench.read(lambda s: inventory.search(s, WHO, DeviceSearch(limit=2), NOW))
    assert first.next == "b.camera._device.example.net"
    rest = bench.read(lambda s: inventory.search(s, WHO, DeviceSearch(limit=3, after=first.next), NOW))
    assert (len(rest.devices), rest.next) == (3, None)


def test_a_batch_that_comes_twice_counts_once(bench: Bench) -> None:
    for _ in range(2):
        assert bench.report(admitted(), {"event": "other"}, batch="b1").model_dump() == {"taken": 1, "skipped": 1}
    assert device(bench).admissions == 1
    # Another node may use the same identifier.
    bench.report(admitted(), batch="b1", node="radius-2")
    assert device(bench).admissions == 2


def test_decisions_of_a_device_are_bounded(bench: Bench) -> None:
    for number in range(3):
        bench.report(*(admitted(at=NOW + dt.timedelta(seconds=i)) for i in range(90)), batch=f"b{number}")
    assert device(bench).admissions == 270
    kept = bench.read(lambda s: s.execute(node_reports.select(node_reports.DecisionRow.id)).all())
    assert len(kept) == 100


def test_names_of_strangers_are_bounded_and_those_of_devices_are_not_forgotten(bench: Bench) -> None:
    bench.report(*(admitted(f"d{number}.camera._device.example.net", at=NOW - HOUR) for number in range(9)))
    bench.report(*(refused(f"s{number}.camera._device.example.net", at=NOW) for number in range(20)))
    bench.write(lambda s: node_reports.forget(s, bench.limits, NOW))
    found = bench.read(lambda s: status.status(s, None)).inventory
    assert found == {"yes": 9, "no": 5}


def test_sessions_are_those_of_the_last_report(bench: Bench) -> None:
    bench.report(admitted())

    def tell(*ids: str, lost: int = 0) -> Any:
        report = SessionsReport.model_validate(
            {
                "sessions": [{"id": key, "name": CAMERA, "since": "2026-11-25T11:00:00Z"} for key in ids]
                + [{"id": "person", "name": "ada"}],
                "lost": {"decisions": lost},
            }
        )
        return bench.write(lambda s: node_reports.take_sessions(s, WHO, "radius-1", report, NOW))

    assert tell("1", "2", lost=3).model_dump() == {"taken": 2, "skipped": 1}
    assert [session.id for session in device(bench).sessions] == ["1", "2"]
    assert names(bench, online=True) == [CAMERA]
    tell(lost=5)
    assert names(bench, online=True) == []
    # The node has lost its counter, and counts from the beginning.
    tell(lost=2)
    (node,) = bench.read(lambda s: node_reports.find_nodes(s, WHO)).nodes
    assert node.lost == 7


def test_a_key_of_a_node_speaks_for_no_other(bench: Bench) -> None:
    who = Principal("key:n1", frozenset({Scope.NODE_WRITE}), node="radius-1")
    report = SessionsReport(sessions=[])
    bench.write(lambda s: node_reports.take_sessions(s, who, "radius-1", report, NOW))
    with refusal(Reason.FORBIDDEN):
        bench.write(lambda s: node_reports.take_sessions(s, who, "radius-2", report, NOW))


def test_a_device_that_somebody_speaks_of_is_in_the_inventory(bench: Bench) -> None:
    put(bench, "quarantined")
    put(bench, "quarantined", zone="waiting")
    assert names(bench, standing=Standing.QUARANTINED) == [CAMERA]
    found = device(bench)
    assert (found.proven, found.last_seen, found.standing_detail.zone) == (False, None, "waiting")
    # A release alone enters nothing.
    bench.write(lambda s: standings.release(s, WHO, "b.example.net", Release(reason="x"), NOW))
    assert names(bench) == [CAMERA]


# --- rules


def test_a_device_at_too_many_stations_is_quarantined(bench: Bench) -> None:
    bench.report(*(admitted(station=f"02-0{number}") for number in range(3)))
    assert standing_of(bench) == "quarantined"
    (event,) = bench.events()
    assert event["by"] == "rule:cloned"
    assert event["until"] == (NOW + dt.timedelta(hours=24)).timestamp()


SPELLINGS = ("02-00-00-00-00-0a", "02-00-00-00-00-0A", "02:00:00:00:00:0a", "0200.0000.000A", "02000000000a")


def test_a_device_that_moves_between_access_points_is_no_clone(bench: Bench) -> None:
    """Each NAS writes a MAC address in its own form."""
    bench.report(*(admitted(station=text, nas=f"ap-{number}") for number, text in enumerate(SPELLINGS)))
    assert standing_of(bench) == "normal"
    assert {place.station for place in device(bench).places} == {"02-00-00-00-00-0A"}


def test_a_rule_leaves_the_zone_that_a_person_chose(bench: Bench) -> None:
    """A stranger's refusals, or an alert, must not send the device back to the wider zone of its rule."""
    bench.write(lambda s: standings.approve(s, WHO, Subject.DEVICE, CAMERA, Approval(approved=True), NOW))
    put(bench, "normal", zone="waiting", reason="not in the living room")
    later = NOW + dt.timedelta(seconds=9)
    bench.report(admitted(), *(refused(station="66-66", at=later) for _ in range(3)), now=later)
    assert bench.events()[-1]["by"] == "rule:rejected"
    for after in (later, NOW + 2 * HOUR):
        bench.write(lambda s, after=after: standings.expire(s, after))
        found = bench.read(lambda s, after=after: standings.show(s, WHO, Subject.DEVICE, CAMERA, after))
        assert (found.zone, found.approved) == ("waiting", True)
    assert found.standing == "normal"
    assert bench.events()[-1]["zone"] == "waiting"


def test_nodes_do_not_end_a_quarantine_after_which_a_zone_counts_that_they_do_not_know(bench: Bench) -> None:
    put(bench, "normal", zone="waiting", reason="not in the living room")
    put(bench, "quarantined", who=IDS, seconds=60)
    event = bench.events()[-1]
    assert (event["standing"], event["until"], event["then"]) == ("quarantined", None, "normal")
    (entry,) = json.loads(bench.read(change_feed.snapshot))["standing"]
    assert entry == {key: event[key] for key in entry}
    history = bench.read(lambda s: standings.history(s, WHO, Subject.DEVICE, CAMERA)).entries
    assert (history[0].until, history[0].then_zone) == (NOW + dt.timedelta(seconds=60), "waiting")
    assert bench.write(lambda s: standings.expire(s, NOW + HOUR)) == 1
    assert (bench.events()[-1]["standing"], bench.events()[-1]["zone"]) == ("normal", "waiting")


def test_a_stranger_cannot_quarantine_a_neighbors_device(bench: Bench) -> None:
    """He presents the name from any number of stations, as often as he likes: the device is watched at most."""
    bench.report(admitted())
    for batch in range(5):
        bench.report(*(refused(station=f"66-{batch}-{number}") for number in range(50)), batch=f"b{batch}")
    assert standing_of(bench) == "watched"
    assert [event["by"] for event in bench.events()] == ["rule:rejected"]
    # Nor by what monitor mode admits.
    bench.report(*(admitted(station=f"66-{number}", monitored=True, reason="tlsa_mismatch") for number in range(50)))
    assert standing_of(bench) == "watched"


def test_a_stranger_cannot_fill_the_feed_with_names(bench: Bench) -> None:
    bench.report(*(refused(f"s{number}.camera._device.example.net") for number in range(200) for _ in range(4)))
    assert bench.events() == []


def test_refusals_do_not_free_a_quarantined_device(bench: Bench) -> None:
    put(bench, "quarantined")
    bench.report(admitted(), *(refused() for _ in range(10)))
    assert standing_of(bench) == "quarantined"


def test_a_released_device_is_not_quarantined_again_for_what_was_before(bench: Bench) -> None:
    bench.report(*(admitted(station=f"02-0{number}", at=NOW - HOUR / 2) for number in range(3)), now=NOW - HOUR / 2)
    assert standing_of(bench) == "quarantined"
    bench.write(lambda s: standings.release(s, WHO, CAMERA, Release(reason="was a repair"), NOW))
    later = NOW + HOUR / 6
    bench.report(admitted(station="02-00", at=later), now=later, batch="later")
    assert standing_of(bench, now=later) == "normal"


def test_without_rules_nothing_happens(bench: Bench) -> None:
    bench.path.write_text(POLICY.split("  rules:\n")[0] + POLICY[POLICY.index("\nrules:") :])
    bench.policy.refresh()
    assert bench.policy.error is None
    bench.report(*(admitted(station=f"02-0{number}") for number in range(9)))
    assert bench.events() == []

"""The decision about devices with a standing, and the memory of its first pass."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from dane_radius.core.answers import Absence, Insecure, Secure, SecureAbsent
from dane_radius.core.decision import Prepared, conclude, prepare
from dane_radius.core.first_pass import FirstPass, still_holds
from dane_radius.core.reasons import ReasonCode, Refused, Verdict
from dane_radius.core.ruling import Ruling, session_terms
from policy import DeviceStanding, Grant, Policy, RequestFacts, Standing, parse_policy
from tests.conformance.world import NAME, NOW
from tests.unit.dane_radius.test_decision import DEVICE, HERE, LEAF, POLICY, device, vouched

ZONED_TEXT = """
version: 2
cui: always
zones: {home: {vlan: 7}, quarantine: {vlan: 66, session: {timeout: 10m}}, guests: {vlan: 8}}
networks: {lab: {ssid: [lab]}}
standing: {quarantined: {zone: quarantine}}
rules:
  - {name: healthy, identity: ["*.lock._device.example.net"], standing: [normal], zone: home}
  - {name: asked, identity: ["*.tv._device.example.net"], approval: required, zone: home}
  - {name: daily, identity: ["*.lamp._device.example.net"], when: {until: 2030-01-01}, zone: home}
  - {name: past, identity: ["*.horn._device.example.net"], when: {until: 2020-01-01}, zone: home}
  - {name: lab, identity: ["*.lab._device.example.net"], networks: [lab], zone: home}
  - {name: cameras, identity: ["*.camera._device.example.net"], zone: home}
  - {name: last, default: true, refuse: members only}
"""
ZONED = parse_policy(ZONED_TEXT.encode())
STRICT = parse_policy(
    b"version: 2\nmode: monitor\nzones: {home: {vlan: 7}}\n"
    b"rules: [{name: cameras, identity: ['*.camera._device.example.net'], zone: home},"
    b" {name: asked, identity: ['*.tv._device.example.net'], approval: required, zone: home}]\n"
)
# The first policy is ZONED in monitor mode. In the second one, only a rule is in monitor mode.
ZONED_MONITOR = parse_policy(f"mode: monitor{ZONED_TEXT}".encode())
ONE_RULE = parse_policy(
    b"version: 2\nzones: {home: {vlan: 7}, isolated: {vlan: 66}}\nstanding: {quarantined: {zone: isolated}}\n"
    b"rules: [{name: gone, identity: ['*.horn._device.example.net'], mode: monitor, refuse: true}]\n"
)


def first_pass(
    kind: str, known: DeviceStanding | None, policy: Policy = ZONED, now: datetime = NOW
) -> Prepared | Ruling:
    leaf = device(f"a1.{kind}._device.example.net")
    return prepare(leaf, policy, HERE, lambda name: known, now=now.timestamp())


@pytest.mark.parametrize(
    ("kind", "known", "code"),
    [
        ("camera", DeviceStanding(Standing.BLOCKED), ReasonCode.DEVICE_BLOCKED),
        ("unknown", DeviceStanding(Standing.BLOCKED), ReasonCode.DEVICE_BLOCKED),
        ("lock", DeviceStanding(Standing.QUARANTINED), ReasonCode.DEVICE_QUARANTINED),
        ("lock", DeviceStanding(Standing.PENDING), ReasonCode.APPROVAL_PENDING),
        ("lock", DeviceStanding(Standing.WATCHED), ReasonCode.POLICY_DENIED),
        ("tv", None, ReasonCode.APPROVAL_PENDING),
        ("tv", DeviceStanding(), ReasonCode.APPROVAL_PENDING),
        ("camera", DeviceStanding(Standing.QUARANTINED, zone="gone"), ReasonCode.ZONE_UNKNOWN),
        ("camera", DeviceStanding(approved=True, zone="gone"), ReasonCode.ZONE_UNKNOWN),
        ("horn", None, ReasonCode.POLICY_TIME),
        ("lab", None, ReasonCode.POLICY_NETWORK),
        ("unknown", None, ReasonCode.POLICY_NO_RULE),
    ],
)
def test_refusals_by_standing_time_and_default(kind: str, known: DeviceStanding | None, code: ReasonCode) -> None:
    ruling = first_pass(kind, known)
    assert isinstance(ruling, Ruling)
    assert (ruling.verdict, ruling.reason, ruling.attributes) == (Verdict.REJECT, code, ())
    assert ruling.detail
    assert ruling.device == known
    assert ruling.evidence.zone is None
    assert ruling.evidence.approved is (known and known.approved)


@pytest.mark.parametrize(
    ("known", "code", "verdict"),
    [
        (DeviceStanding(Standing.BLOCKED), ReasonCode.DEVICE_BLOCKED, Verdict.REJECT),
        (DeviceStanding(Standing.QUARANTINED), ReasonCode.DEVICE_QUARANTINED, Verdict.REJECT),
        (DeviceStanding(approved=True, zone="gone"), ReasonCode.ZONE_UNKNOWN, Verdict.REJECT),
        (DeviceStanding(Standing.PENDING), ReasonCode.APPROVAL_PENDING, Verdict.ACCEPT),
    ],
)
def test_monitor_mode_admits_no_device_that_somebody_has_isolated(
    known: DeviceStanding, code: ReasonCode, verdict: Verdict
) -> None:
    ruling = first_pass("camera", known, STRICT)
    assert isinstance(ruling, Ruling)
    assert (ruling.reason, ruling.verdict, ruling.monitored) == (code, verdict, verdict is Verdict.ACCEPT)


@pytest.mark.parametrize(
    ("kind", "code", "policy"),
    [
        ("unknown", ReasonCode.POLICY_NO_RULE, ZONED_MONITOR),
        ("lab", ReasonCode.POLICY_NETWORK, ZONED_MONITOR),
        ("horn", ReasonCode.POLICY_TIME, ZONED_MONITOR),
        ("horn", ReasonCode.POLICY_DENIED, ONE_RULE),
    ],
)
def test_monitor_mode_admits_no_isolated_device_where_no_rule_gives_it_a_zone(
    kind: str, code: ReasonCode, policy: Policy
) -> None:
    """It would be in the NAS's default network, with more access than in quarantine."""
    for known in (
        DeviceStanding(Standing.QUARANTINED),
        DeviceStanding(Standing.QUARANTINED, approved=True, zone="home"),
    ):
        isolated = first_pass(kind, known, policy)
        assert isinstance(isolated, Ruling)
        assert (isolated.verdict, isolated.reason, isolated.monitored) == (Verdict.REJECT, code, False)
        assert (isolated.attributes, isolated.terms) == ((), None)
    for other in (None, DeviceStanding(), DeviceStanding(Standing.WATCHED), DeviceStanding(Standing.PENDING)):
        admitted = first_pass(kind, other, policy)
        assert isinstance(admitted, Ruling)
        assert (admitted.verdict, admitted.reason, admitted.monitored) == (Verdict.ACCEPT, code, True)


def test_monitor_mode_admits_an_isolated_device_to_its_zone() -> None:
    """There, monitor mode is about the DNS only, as for every other device."""
    prepared = first_pass("camera", DeviceStanding(Standing.QUARANTINED), ZONED_MONITOR)
    assert isinstance(prepared, Prepared)
    decision = conclude(prepared, SecureAbsent(Absence.NXDOMAIN, 60), [], NOW)
    assert (decision.ruling.verdict, decision.ruling.monitored) == (Verdict.ACCEPT, True)
    assert {name: value for name, _, value in decision.attributes}["Tunnel-Private-Group-Id:0"] == "66"


def test_monitor_mode_ends_with_the_quarantine() -> None:
    known = DeviceStanding(Standing.QUARANTINED, until=NOW.timestamp() + 90)
    remembered = FirstPass()
    stranger = device("a1.unknown._device.example.net")

    def is_admitted(standing: DeviceStanding | None, later: float) -> bool:
        result = remembered.prepare(stranger, ZONED_MONITOR, HERE, lambda name: standing, now=NOW.timestamp() + later)
        assert isinstance(result, Ruling)
        return result.accepted

    assert is_admitted(None, 0)
    assert not is_admitted(known, 0)
    assert not is_admitted(known, 89)
    assert is_admitted(DeviceStanding(), 90)


@pytest.mark.parametrize(
    ("kind", "known", "evidence"),
    [
        ("camera", None, {"standing": "normal", "zone": "home"}),
        ("camera", DeviceStanding(), {"standing": "normal", "approved": False, "zone": "home"}),
        (
            "camera",
            DeviceStanding(Standing.WATCHED, approved=True, zone="guests"),
            {
                "standing": "watched", "approved": True, "zone": "guests",
                "assigned_standing": "watched", "assigned_zone": "guests",
            },
        ),
        # Policy does not apply a zone that somebody chose for a device that nobody has approved.
        (
            "camera",
            DeviceStanding(zone="guests"),
            {"standing": "normal", "approved": False, "zone": "guests", "assigned_zone": "guests"},
        ),
        (
            "camera",
            DeviceStanding(Standing.QUARANTINED),
            {"standing": "quarantined", "approved": False, "zone": "quarantine", "assigned_standing": "quarantined"},
        ),
        # Policy makes it pending, and nobody has said so.
        ("tv", DeviceStanding(), {"standing": "pending", "approved": False}),
        (
            "tv",
            DeviceStanding(Standing.PENDING, zone="gone"),
            {"standing": "pending", "approved": False, "assigned_standing": "pending", "assigned_zone": "gone"},
        ),
        (
            "camera",
            DeviceStanding(Standing.BLOCKED, approved=True),
            {"standing": "blocked", "approved": True, "assigned_standing": "blocked"},
        ),
    ],
)  # fmt: skip
def test_the_evidence_has_what_was_known_and_what_policy_applied(
    kind: str, known: DeviceStanding | None, evidence: dict[str, object]
) -> None:
    result = first_pass(kind, known)
    ruling = result if isinstance(result, Ruling) else conclude(result, Insecure("unsigned"), [], NOW).ruling
    found = ruling.evidence.to_json()
    keys = ("standing", "approved", "zone", "assigned_standing", "assigned_zone")
    assert {key: found[key] for key in keys if key in found} == evidence
    # The log line has the same.
    assert json.loads(f"{{{ruling.json_members[1]}}}") == json.loads(json.dumps(found))


def test_the_quarantine_of_a_file_of_version_1_assigns_nothing() -> None:
    leaf = device("q1.camera._device.example.net")
    prepared = prepare(leaf, POLICY, HERE, lambda name: DeviceStanding(approved=True), now=NOW.timestamp())
    assert isinstance(prepared, Prepared)
    assert (prepared.evidence.standing, prepared.evidence.approved) == ("quarantined", True)
    assert (prepared.evidence.assigned_standing, prepared.evidence.assigned_zone) == (None, None)


@pytest.mark.parametrize(
    ("kind", "known", "zone", "standing", "vlan"),
    [
        ("camera", None, "home", "normal", "7"),
        ("camera", DeviceStanding(Standing.WATCHED), "home", "watched", "7"),
        ("camera", DeviceStanding(Standing.QUARANTINED), "quarantine", "quarantined", "66"),
        ("camera", DeviceStanding(approved=True, zone="guests"), "guests", "normal", "8"),
        ("tv", DeviceStanding(approved=True), "home", "normal", "7"),
    ],
)
def test_the_access_of_a_standing(kind: str, known: DeviceStanding | None, zone: str, standing: str, vlan: str) -> None:
    prepared = first_pass(kind, known)
    assert isinstance(prepared, Prepared)
    decision = conclude(prepared, Secure((DEVICE.tlsa(3, 1, 1),), 3600), [], NOW)
    # The certificates have one key, so that one record vouches for all of them.
    assert decision.ruling.evidence.zone == zone
    assert decision.ruling.evidence.standing == standing
    assert decision.ruling.device == known
    assert prepared.grant.vlan == int(vlan)
    assert decision.to_json()["evidence"]["zone"] == zone
    assert decision.to_json()["evidence"].get("approved") is (known and known.approved)


def test_what_cannot_be_said_about_a_standing_is_a_reject() -> None:
    def unavailable(name: str) -> DeviceStanding | None:
        raise Refused(ReasonCode.STANDING_UNAVAILABLE, f"nothing is known of {name}")

    for policy in (ZONED, ZONED_MONITOR, STRICT):
        ruling = prepare(LEAF, policy, HERE, unavailable, now=NOW.timestamp())
        assert isinstance(ruling, Ruling)
        assert (ruling.verdict, ruling.reason, ruling.name) == (Verdict.REJECT, ReasonCode.STANDING_UNAVAILABLE, NAME)
        assert (ruling.monitored, ruling.attributes) == (False, ())
        assert ruling.evidence.domain == "_device.example.net"
        assert ruling.evidence.approved is None
    remembered = FirstPass()
    remembered.prepare(LEAF, ZONED, HERE, unavailable, now=NOW.timestamp())
    assert len(remembered) == 0
    assert isinstance(remembered.prepare(LEAF, ZONED, HERE, now=NOW.timestamp()), Prepared)


@pytest.mark.parametrize(
    ("left", "expected"), [(1e9, 28800), (28800, 28800), (28799.9, 28799), (100, 100), (1.9, 1), (0.2, 1), (-5, 1)]
)
def test_a_session_ends_where_policy_ends(left: float, expected: int) -> None:
    now = LEAF.not_after.timestamp() - 1e6
    terms = session_terms(Grant(session_timeout=28800), Policy((), ttl_factor=12), LEAF, now + left)
    assert terms.seconds(3600, now) == expected
    # The policy's minimum does not go beyond that either.
    assert terms.seconds(0, now) == min(expected, 60)


def test_the_session_of_a_quarantined_device_ends_with_the_quarantine() -> None:
    known = DeviceStanding(Standing.QUARANTINED, until=NOW.timestamp() + 90)
    prepared = prepare(LEAF, ZONED, HERE, lambda name: known, now=NOW.timestamp())
    assert isinstance(prepared, Prepared)
    assert prepared.expires == NOW.timestamp() + 90
    decision = conclude(prepared, vouched(), [], NOW + timedelta(seconds=30))
    assert decision.accepted
    assert decision.session_timeout == 60
    assert decision.ruling.expires == NOW.timestamp() + 90


# --- the memory of the first pass ------------------------------------------------------------------------------------


def test_the_first_pass_is_remembered_while_nothing_changes() -> None:
    remembered, now = FirstPass(), NOW.timestamp()
    lamp = device("a1.lamp._device.example.net")
    standings: dict[str, DeviceStanding] = {}
    asked: list[str] = []

    def standing_of(name: str) -> DeviceStanding | None:
        asked.append(name)
        return standings.get(name)

    def again(policy: Policy = ZONED, request: RequestFacts = HERE, at: float = now) -> Prepared | Ruling:
        return remembered.prepare(lamp, policy, request, standing_of, now=at)

    first = again()
    assert isinstance(first, Prepared)
    assert again() is first
    assert again(at=now + 3600) is first
    assert asked[-1] == "a1.lamp._device.example.net"
    # Another place, another policy, and another standing each change it, and back again.
    assert again(request=RequestFacts(ssid="x")) is not first
    other = parse_policy(b"version: 2\nzones: {a: {}}\nrules: [{name: r, default: true, zone: a}]")
    changed = again(policy=other)
    assert changed is not first
    assert isinstance(changed, Prepared)
    assert changed.rule.name == "r"
    standings["a1.lamp._device.example.net"] = DeviceStanding(Standing.QUARANTINED)
    isolated = again()
    assert isinstance(isolated, Prepared)
    assert isolated.evidence.zone == "quarantine"
    standings["a1.lamp._device.example.net"] = DeviceStanding(Standing.BLOCKED)
    assert isinstance(again(), Ruling)
    assert again() is again()
    standings.clear()
    released = again()
    assert isinstance(released, Prepared)
    assert released.evidence.zone == "home"
    # The rule ends in 2030. What was remembered before does not survive that.
    assert released.expires == datetime(2030, 1, 1, tzinfo=NOW.tzinfo).timestamp()
    assert again(at=released.expires - 1) is released
    ended = again(at=released.expires)
    assert isinstance(ended, Ruling)
    assert ended.reason is ReasonCode.POLICY_TIME
    # Nor does it hold before the time at which it was found, if the clock is set back.
    assert isinstance(again(), Prepared)


def test_what_waited_is_checked_before_it_is_used() -> None:
    now = NOW.timestamp()
    known = DeviceStanding(Standing.WATCHED, until=now + 10)
    prepared = prepare(LEAF, ZONED, HERE, lambda name: known, now=now)
    assert isinstance(prepared, Prepared)
    assert still_holds(prepared, ZONED, lambda name: known, now + 9)
    assert not still_holds(prepared, ZONED, lambda name: known, now + 10)
    assert not still_holds(prepared, ZONED, lambda name: None, now)
    assert not still_holds(prepared, STRICT, lambda name: known, now)

    def unavailable(name: str) -> DeviceStanding | None:
        raise Refused(ReasonCode.STANDING_UNAVAILABLE, name)

    with pytest.raises(Refused):
        still_holds(prepared, ZONED, unavailable, now)
    # In the memory of the first pass, it leads to the reject.
    remembered = FirstPass()
    assert isinstance(remembered.prepare(LEAF, ZONED, HERE, now=now), Prepared)
    assert isinstance(remembered.prepare(LEAF, ZONED, HERE, unavailable, now=now), Ruling)


def test_the_memory_of_the_first_pass_is_bounded() -> None:
    remembered = FirstPass(max_entries=4)
    for number in range(9):
        remembered.prepare(LEAF, ZONED, RequestFacts(ssid=f"s{number}"), now=NOW.timestamp())
    assert len(remembered) == 4
    large = device(*(f"a{number}.{'x' * 60}.example.net" for number in range(100)), NAME)
    assert isinstance(remembered.prepare(large, POLICY, HERE, now=NOW.timestamp()), Prepared)
    assert len(remembered) == 4

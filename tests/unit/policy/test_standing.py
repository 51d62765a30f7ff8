"""What a device's standing changes about a match: zones, approval, blocks, and when they end."""

from __future__ import annotations

import pytest

from policy import DeviceStanding, Match, MatchRefusal, Policy, RequestFacts, Standing, parse_policy

NOW = 1_796_000_000.0
HERE = RequestFacts(ssid="home")

RULES = """
version: 2
networks: {home: {ssid: [home]}}
zones: {appliance: {vlan: 30}, guests: {vlan: 40}, quarantine: {vlan: 66}, waiting: {vlan: 5}, lab: {vlan: 9}}
%s
rules:
- {name: stolen, identity: [s1.camera._device.example.net], refuse: reported stolen}
- {name: healthy, identity: ["*.lock._device.example.net"], standing: [normal, watched], zone: appliance}
- {name: forensics, identity: ["*.probe._device.example.net"], standing: [quarantined, pending], zone: lab}
- {name: asked, identity: ["*.tv._device.example.net"], approval: required, zone: appliance}
- {name: home, identity: ["*.camera._device.example.net"], networks: [home], zone: appliance}
- {name: rest, identity: ["*.lock._device.example.net"], networks: [home], zone: guests}
"""
ZONES = "standing: {quarantined: {zone: quarantine}, pending: {zone: waiting}}"
POLICY = parse_policy((RULES % ZONES).encode())
STRICT = parse_policy((RULES % "").encode())


def match(kind: str, device: DeviceStanding | None, policy: Policy = POLICY, now: float = NOW) -> Match:
    return policy.match(f"a1.{kind}._device.example.net", HERE, device, now=now)


def outcome(kind: str, device: DeviceStanding | None, policy: Policy = POLICY) -> tuple[str | None, str | None, str]:
    found = match(kind, device, policy)
    assert (found.grant is None) is (found.refusal is not None) is bool(found.detail)
    return found.rule and found.rule.name, found.refusal or found.zone, found.standing


NORMAL, WATCHED, QUARANTINED, BLOCKED, PENDING = map(DeviceStanding, Standing)


@pytest.mark.parametrize(
    ("kind", "device", "by_zones", "without_zones"),
    [
        ("camera", None, ("home", "appliance", "normal"), ("home", "appliance", "normal")),
        ("camera", NORMAL, ("home", "appliance", "normal"), ("home", "appliance", "normal")),
        ("camera", WATCHED, ("home", "appliance", "watched"), ("home", "appliance", "watched")),
        ("camera", QUARANTINED, ("home", "quarantine", "quarantined"), ("home", "quarantined", "quarantined")),
        ("camera", PENDING, ("home", "waiting", "pending"), ("home", "pending", "pending")),
        ("camera", BLOCKED, (None, "blocked", "blocked"), (None, "blocked", "blocked")),
        # A zone of the device's own.
        ("camera", QUARANTINED._replace(zone="lab"), ("home", "lab", "quarantined"), ("home", "lab", "quarantined")),
        ("camera", PENDING._replace(zone="lab"), ("home", "lab", "pending"), ("home", "lab", "pending")),
        ("camera", QUARANTINED._replace(zone="no"), ("home", "unknown_zone", "quarantined"),
         ("home", "unknown_zone", "quarantined")),
        ("camera", BLOCKED._replace(zone="lab", approved=True), (None, "blocked", "blocked"),
         (None, "blocked", "blocked")),
        ("camera", NORMAL._replace(zone="guests"), ("home", "guests", "normal"), ("home", "guests", "normal")),
        ("camera", DeviceStanding(approved=True, zone="guests"), ("home", "guests", "normal"),
         ("home", "guests", "normal")),
        ("camera", WATCHED._replace(approved=True, zone="guests"), ("home", "guests", "watched"),
         ("home", "guests", "watched")),
        ("camera", DeviceStanding(approved=True, zone="no"), ("home", "unknown_zone", "normal"),
         ("home", "unknown_zone", "normal")),
        # Approval.
        ("tv", None, ("asked", "waiting", "pending"), ("asked", "pending", "pending")),
        ("tv", NORMAL, ("asked", "waiting", "pending"), ("asked", "pending", "pending")),
        ("tv", DeviceStanding(approved=True), ("asked", "appliance", "normal"), ("asked", "appliance", "normal")),
        ("tv", WATCHED._replace(approved=True), ("asked", "appliance", "watched"), ("asked", "appliance", "watched")),
        ("tv", QUARANTINED, ("asked", "quarantine", "quarantined"), ("asked", "quarantined", "quarantined")),
        ("tv", QUARANTINED._replace(approved=True), ("asked", "quarantine", "quarantined"),
         ("asked", "quarantined", "quarantined")),
        ("tv", PENDING._replace(approved=True), ("asked", "waiting", "pending"), ("asked", "pending", "pending")),
        # Rules for some standings only.
        ("lock", None, ("healthy", "appliance", "normal"), ("healthy", "appliance", "normal")),
        ("lock", QUARANTINED, ("rest", "quarantine", "quarantined"), ("rest", "quarantined", "quarantined")),
        ("probe", QUARANTINED, ("forensics", "lab", "quarantined"), ("forensics", "lab", "quarantined")),
        ("probe", PENDING, ("forensics", "lab", "pending"), ("forensics", "lab", "pending")),
        ("probe", NORMAL, (None, "standing", "normal"), (None, "standing", "normal")),
        ("probe", BLOCKED, (None, "blocked", "blocked"), (None, "blocked", "blocked")),
        # No standing opens a door.
        ("heater", DeviceStanding(approved=True, zone="guests"), (None, "no_rule", "normal"),
         (None, "no_rule", "normal")),
    ],
)  # fmt: skip
def test_standings(
    kind: str,
    device: DeviceStanding | None,
    by_zones: tuple[str | None, str, str],
    without_zones: tuple[str | None, str, str],
) -> None:
    assert outcome(kind, device) == by_zones
    assert outcome(kind, device, STRICT) == without_zones


def test_a_refusing_rule_refuses_whatever_the_standing() -> None:
    for device in (None, DeviceStanding(approved=True, zone="guests"), QUARANTINED):
        found = POLICY.match("s1.camera._device.example.net", HERE, device, now=NOW)
        assert (found.refusal, found.grant) == (MatchRefusal.DENIED, None)
        assert "reported stolen" in found.detail


def test_the_end_of_a_standing() -> None:
    until = QUARANTINED._replace(until=NOW + 10)
    assert (match("camera", until).zone, match("camera", until).expires) == ("quarantine", NOW + 10)
    assert match("camera", until, now=NOW + 9.999).zone == "quarantine"
    # At the end itself, nothing of it counts any more.
    after = match("camera", until, now=NOW + 10)
    assert (after.zone, after.standing, after.expires) == ("appliance", Standing.NORMAL, None)
    for device, before, then in (
        (BLOCKED, MatchRefusal.BLOCKED, None),
        (DeviceStanding(approved=True), None, None),
    ):
        ends = device._replace(until=NOW + 10)
        assert match("camera", ends).refusal is before
        assert match("camera", ends).expires == NOW + 10
        assert match("camera", ends, now=NOW + 10).refusal is then
    assert match("tv", DeviceStanding(approved=True, until=NOW + 10), now=NOW + 10).standing is Standing.PENDING


WINDOWS = """
version: 2
zones: {day: {vlan: 1}, night: {vlan: 2}}
rules:
- {name: night, identity: ["*.lamp._device.example.net"], when: {from: "22:00", to: "06:00"}, zone: night}
- {name: never, identity: ["*.lamp._device.example.net"], when: {until: 2026-01-01}, refuse: true}
- {name: day, identity: ["*.lamp._device.example.net"], when: {until: 2027-01-01}, zone: day}
- {name: late, identity: ["*.horn._device.example.net"], when: {since: 2027-01-01}, zone: day}
"""


def test_a_match_ends_where_another_rule_begins() -> None:
    """The rule of the day holds until that of the night, which stands before it, opens."""
    policy = parse_policy(WINDOWS.encode())
    noon = 1_796_040_000.0 - 1_796_040_000.0 % 86_400 + 12 * 3600
    lamp = "a.lamp._device.example.net"
    by_day = policy.match(lamp, HERE, now=noon)
    assert (by_day.zone, by_day.expires) == ("day", noon + 10 * 3600)
    by_night = policy.match(lamp, HERE, now=noon + 10 * 3600)
    assert (by_night.zone, by_night.expires) == ("night", noon + 18 * 3600)
    # The earliest of all ends counts, and the device's own is one of them.
    watched = policy.match(lamp, HERE, WATCHED._replace(until=noon + 60), now=noon)
    assert (watched.zone, watched.expires) == ("day", noon + 60)
    # A refusal ends, too: somebody who caches it must ask again.
    late = policy.match("a.horn._device.example.net", HERE, now=noon)
    assert (late.refusal, late.rule, late.named) == (MatchRefusal.TIME, None, True)
    assert late.expires == 1_798_761_600.0
    assert "not at this time" in late.detail


DEFAULTS = """
version: 2
networks: {home: {ssid: [home]}}
zones: {a: {vlan: 1}}
standing: {pending: {zone: a}}
rules:
- {name: r, identity: ["*.camera._device.example.net"], networks: [home], zone: a}
- {name: last, default: true, %s}
"""


def test_a_default_that_refuses() -> None:
    policy = parse_policy((DEFAULTS % "refuse: members only").encode())
    elsewhere = policy.match("a.camera._device.example.net", RequestFacts(ssid="x"), now=NOW)
    assert elsewhere.rule is policy.rules[-1]
    assert elsewhere.refusal is MatchRefusal.NETWORK
    assert "SSID x" in elsewhere.detail
    unknown = policy.match("a.example.org", HERE, now=NOW)
    assert (unknown.refusal, unknown.named) == (MatchRefusal.NO_RULE, False)
    assert unknown.detail == "no rule covers a.example.org; rule last denies it: members only"
    assert not policy.could_grant("a.example.org")
    assert not policy.selects("a.example.org")
    assert policy.could_grant("a.camera._device.example.net")


def test_a_default_that_admits() -> None:
    policy = parse_policy((DEFAULTS % "zone: a, pkix_cd: true").encode())
    found = policy.match("a.example.org", HERE, now=NOW)
    assert (found.rule, found.zone, found.named) == (policy.rules[-1], "a", True)
    assert policy.could_grant("a.example.org")
    assert policy.selects("a.example.org")
    assert policy.allows_pkix_cd("a.example.org")
    asked = parse_policy((DEFAULTS % "zone: a, approval: required").encode())
    assert asked.match("a.example.org", HERE, now=NOW).standing is Standing.PENDING


def test_grants_and_roaming_come_between_the_rules_and_the_default() -> None:
    text = (DEFAULTS % "refuse: true").replace("*.camera._device.example.net", "*._device.may.example") + (
        "grants:\n- {identity: ['*._device.may.example', '*._device.city.example'], zone: a, until: 2027-01-01}\n"
        "roaming:\n- {domains: [city.example], networks: [home], zone: a}\n"
    )
    policy = parse_policy(text.encode())
    away = RequestFacts(ssid="away")
    assert [
        (found.rule and found.rule.name, found.refusal)
        for found in (
            policy.match("x._device.may.example", HERE, now=NOW),
            policy.match("x._device.may.example", away, now=NOW),
            policy.match("x._device.city.example", HERE, now=NOW),
            policy.match("x.lamp._device.city.example", HERE, now=NOW),
            policy.match("x.lamp._device.city.example", away, now=NOW),
            policy.match("x._device.city.example", HERE, now=1_798_761_600.0),
            policy.match("x._device.may.example", away, now=1_798_761_600.0),
        )
    ] == [
        ("r", None),
        ("grant-1", None),
        ("grant-1", None),
        ("roaming-1", None),
        ("last", MatchRefusal.NETWORK),
        ("roaming-1", None),
        ("last", MatchRefusal.TIME),
    ]


@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("a1.camera._device.city.example", True),
        ("a1._device.city.example", True),
        ("_mqtt.city.example", True),
        ("a1.city.example", True),
        # Another organization below the same domain.
        ("a1._device.dept.city.example", False),
        ("a1.x.city.example", False),
        ("a1._device.city.example.evil.example", False),
        ("a1._device.evilcity.example", False),
    ],
)
def test_domains(name: str, covered: bool) -> None:
    policy = parse_policy(b"version: 2\nzones: {a: {}}\nrules: [{name: r, domains: [city.example], zone: a}]\n")
    assert policy.selects(name) is covered


@pytest.mark.parametrize(
    ("network", "facts", "expected"),
    [
        ("{port_types: [Wireless-802.11]}", {"nas_port_type": "Wireless-802.11"}, True),
        ("{port_types: [wireless-802.11]}", {"nas_port_type": "19"}, True),
        ("{port_types: [19]}", {"nas_port_type": "Wireless-802.11"}, True),
        ("{port_types: [Ethernet, 18]}", {"nas_port_type": "Wireless-Other"}, True),
        ("{port_types: [Ethernet]}", {"nas_port_type": "Virtual"}, False),
        ("{port_types: [Ethernet]}", {}, False),
        ("{realms: [Home.example]}", {"realm": "home.example"}, True),
        ("{realms: [home.example]}", {"realm": "x.home.example"}, False),
        ("{realms: [home.example]}", {"realm": ""}, False),
        ("{realms: [home.example]}", {}, False),
        ("{ssid: [s], realms: [a.example]}", {"ssid": "s", "realm": "a.example"}, True),
        ("{ssid: [s], realms: [a.example]}", {"ssid": "t", "realm": "a.example"}, False),
        ("{ssid: [s], realms: [a.example]}", {"ssid": "s", "realm": "b.example"}, False),
    ],
)
def test_networks_of_version_2(network: str, facts: dict[str, str], expected: bool) -> None:
    policy = parse_policy(
        f"version: 2\nnetworks: {{n: {network}}}\nzones: {{a: {{}}}}\n"
        "rules: [{name: r, identity: [a.example.net], networks: [n], zone: a}]\n".encode()
    )
    found = policy.match("a.example.net", RequestFacts(**facts), now=NOW)  # type: ignore[arg-type]
    assert (found.grant is not None) is expected


def test_a_file_of_version_1_knows_standings_too() -> None:
    policy = parse_policy(
        b"version: 1\nquarantine: {identity: [bad.example.net], grant: {vlan: 66}}\n"
        b"rules: [{name: r, identity: ['*.example.net'], grant: {vlan: 7}}]\n"
    )
    for name, device, vlan in (
        ("a.example.net", None, 7),
        ("bad.example.net", None, 66),
        ("bad.example.net", DeviceStanding(approved=True), 66),
        ("a.example.net", QUARANTINED, 66),
        ("a.example.net", WATCHED, 7),
        ("a.example.net", PENDING, None),
        ("a.example.net", BLOCKED, None),
        ("a.example.net", QUARANTINED._replace(zone="x"), None),
    ):
        found = policy.match(name, HERE, device, now=NOW)
        assert (found.grant and found.grant.vlan) == vlan, (name, device)

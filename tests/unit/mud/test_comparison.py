"""A version that widens access is never called harmless, and few others are called dangerous."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mud import Action, DeviceAcl, Direction, Mode, Packet, compare, compile_acl, decide, parse_mud, widens
from mud.acl import matches
from mud.comparison import covers, may_overlap
from tests.unit.mud import sampling
from tests.unit.mud.builders import ACLS, ace, acl, document, eq, from_name, mud_file, octets, published, to_name
from tests.unit.mud.sampling import as_acl, mutated, packet_of, rules_of, some_acl, some_packet, some_rule


def packets(chance: random.Random, *acls: DeviceAcl, count: int) -> list[Packet]:
    """Random packets, and ones at the borders of the ACLs' rules."""
    rules = [rule for one in acls for rule in rules_of(one)]
    return [some_packet(chance) for _ in range(count)] + [
        packet_of(chance, rule) for rule in rules for _ in range(max(1, count // 4))
    ]


def passes(one: DeviceAcl, packet: Packet) -> bool:
    return decide(one, packet).action is Action.ACCEPT


def newly_passing(old: DeviceAcl, new: DeviceAcl, sample: list[Packet]) -> list[Packet]:
    return [packet for packet in sample if passes(new, packet) and not passes(old, packet)]


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_never_no_when_a_packet_newly_passes(seed: int, related: bool) -> None:
    chance = random.Random(seed)
    old = some_acl(chance)
    new = mutated(chance, old) if related else some_acl(chance)
    if not widens(old, new):
        assert newly_passing(old, new, packets(chance, old, new, count=60)) == []


def test_the_property_meets_both_answers_and_few_false_alarms() -> None:
    """With a fixed seed, so that the numbers say something about the code and nothing else does."""
    chance = random.Random(1)
    said_no = said_yes = proven = 0
    for _ in range(400):
        old = some_acl(chance)
        new = mutated(chance, old)
        found = newly_passing(old, new, packets(chance, old, new, count=40))
        if widens(old, new):
            said_yes += 1
            proven += bool(found)
        else:
            said_no += 1
            assert found == []
    assert said_no > 100
    assert said_yes > 100
    # The rest is a false alarm, differs in its TLS profile only, or needs a packet that the sample lacks.
    assert proven > said_yes * 0.8


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_covers_and_may_overlap_agree_with_packets(seed: int) -> None:
    chance = random.Random(seed)
    one, other = some_rule(chance), some_rule(chance)
    one = replace(other, **{name: getattr(one, name) for name in ("peers", "peer_ports")}) if seed % 2 else one
    for packet in packets(chance, as_acl([one]), as_acl([other]), count=60):
        if matches(other, packet):
            assert matches(one, packet) or not covers(one, other)
            assert may_overlap(one, other) or not matches(one, packet)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_less_is_never_called_wider(seed: int) -> None:
    """Without drops: fewer rules, in another order, with one more condition each."""
    chance = random.Random(seed)
    old = some_acl(chance, accept=1.0)
    rules = [rule for rule in rules_of(old) if chance.random() < 0.7]
    chance.shuffle(rules)
    narrowed = [
        replace(rule, initiated=rule.initiated or Direction.FROM_DEVICE) if rule.protocol == 6 else rule
        for rule in rules
    ]
    assert not widens(old, as_acl(rules))
    assert not widens(old, as_acl(narrowed))
    # A drop in front of it permits nothing new, either.
    assert not widens(old, as_acl([replace(some_rule(chance), action=Action.DROP), *rules]))
    assert not widens(old, old)


@pytest.mark.parametrize("path", published("unsw")[:8] + published("nist"), ids=lambda path: path.stem)
def test_changes_of_published_files(path: Path) -> None:
    file = parse_mud(path.read_bytes(), Mode.LENIENT)
    old = compile_acl(file)
    chance = random.Random(path.stem)
    for _ in range(40):
        rules = rules_of(old)
        kind = chance.randrange(3)
        at = chance.randrange(len(rules))
        if kind == 0:
            del rules[at]
        elif kind == 1:
            rules[at] = replace(rules[at], peers=())
        else:
            rules[at] = replace(rules[at], direction=chance.choice(list(Direction)), peer_ports=((1, 1000),))
        new = as_acl(rules)
        assert widens(old, new) or not newly_passing(old, new, [packet_of(chance, rule) for rule in rules])
        if kind == 0:
            assert not widens(old, new)


ICMP_V4 = {"ipv4": {}, "icmp": {"type": 8}}
NARROW = {"ipv4": {"destination-ipv4-network": "192.0.2.0/25"}}
WIDE = {"ipv4": {"destination-ipv4-network": "192.0.2.0/24"}}
OTHER_NETWORK = {"ipv4": {"destination-ipv4-network": "198.51.100.0/24"}}


def tcp(*ports: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [ace(f"p{number}", tcp={"destination-port": port}, **more) for number, port in enumerate(ports)]


def ports(low: int, high: int) -> dict[str, Any]:
    return {"lower-port": low, "upper-port": high}


def no(*entries: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**entry, "name": f"no-{entry['name']}", "actions": {"forwarding": "drop"}} for entry in entries]


WIDER: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    ("from nothing", [], [to_name()]),
    ("another name", [to_name()], [to_name("b.example")]),
    ("one more name", [to_name()], [to_name(), to_name("b.example")]),
    ("another port", [to_name()], [to_name(port=444)]),
    ("a range", tcp(eq(80)), tcp(ports(80, 81))),
    ("a gap is closed", tcp(eq(80), eq(82)), tcp(ports(80, 82))),
    ("neq", tcp({"operator": "neq", "port": 80}), tcp({})),
    ("no port", tcp(eq(80)), tcp({})),
    ("no protocol", [ace("a", tcp={})], [ace("a")]),
    (
        "who opens",
        [to_name()],
        [ace("a", ipv4={"ietf-acldns:dst-dnsname": "cloud.example"}, tcp={"destination-port": eq(443)})],
    ),
    ("a network", [ace("a", **NARROW)], [ace("a", **WIDE)]),
    ("another network", [ace("a", **WIDE)], [ace("a", **OTHER_NETWORK)]),
    ("no name", [to_name()], [ace("a", tcp={})]),
    ("another ICMP type", [ace("a", **ICMP_V4)], [ace("a", ipv4={}, icmp={"type": 0})]),
    ("every ICMP type", [ace("a", **ICMP_V4)], [ace("a", ipv4={}, icmp={})]),
    ("name to local", [to_name()], [ace("a", mud={"local-networks": [None]}, tcp={})]),
    (
        "a model of another maker",
        [ace("a", mud={"manufacturer": "b.example"})],
        [ace("a", mud={"model": "https://a.example/m"})],
    ),
    ("model to maker", [ace("a", mud={"model": "https://a.example/m"})], [ace("a", mud={"manufacturer": "a.example"})]),
    (
        "two conditions to one",
        [ace("a", mud={"local-networks": [None], "manufacturer": "a.example"})],
        [ace("a", mud={"local-networks": [None]})],
    ),
    ("a drop goes", [*no(*tcp(eq(23))), ace("a", tcp={})], [ace("a", tcp={})]),
    ("a drop is later", [*no(*tcp(eq(23))), ace("a", tcp={})], [ace("a", tcp={}), *no(*tcp(eq(23)))]),
    ("a drop is narrower", [*no(*tcp(ports(20, 25))), ace("a", tcp={})], [*no(*tcp(ports(20, 24))), ace("a", tcp={})]),
    (
        "a drop loses to an accept",
        [*no(*tcp(eq(23))), ace("a", tcp={})],
        [*tcp(eq(23)), *no(*tcp(eq(23))), ace("a", tcp={})],
    ),
    (
        "a new rule before the drop",
        [*no(ace("a", **NARROW)), ace("a", **WIDE)],
        [*tcp(eq(1), **NARROW), *no(ace("a", **NARROW)), ace("b", **WIDE)],
    ),
]
SAME_OR_NARROWER: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    ("nothing", [to_name()], []),
    ("the order", [to_name(), to_name("b.example")], [to_name("b.example"), to_name()]),
    ("one of two", [to_name(), to_name("b.example")], [to_name()]),
    ("ports together", tcp(ports(80, 85), ports(86, 90)), tcp(ports(80, 90))),
    ("ports apart", tcp(ports(80, 90)), tcp(eq(80), ports(82, 90))),
    (
        "both sides of neq",
        tcp({"operator": "lte", "port": 79}, {"operator": "gte", "port": 81}),
        tcp({"operator": "neq", "port": 80}),
    ),
    ("a network", [ace("a", **WIDE)], [ace("a", **NARROW)]),
    ("maker to model", [ace("a", mud={"manufacturer": "a.example"})], [ace("a", mud={"model": "https://a.example/m"})]),
    (
        "a condition more",
        [ace("a", mud={"local-networks": [None]})],
        [ace("a", mud={"local-networks": [None], "manufacturer": "a.example"})],
    ),
    ("a drop comes", [ace("a", tcp={})], [*no(*tcp(eq(23))), ace("a", tcp={})]),
    ("a drop is wider", [*no(*tcp(eq(23))), ace("a", tcp={})], [*no(*tcp(ports(20, 25))), ace("a", tcp={})]),
    ("the same drop", [*no(*tcp(eq(23))), ace("a", tcp={})], [*no(*tcp(eq(23))), ace("b", tcp={})]),
    (
        "reject and drop",
        [*no(*tcp(eq(23))), ace("a", tcp={})],
        [ace("r", action="reject", tcp={"destination-port": eq(23)}), ace("a", tcp={})],
    ),
    ("a drop elsewhere goes", [*no(ace("a", **OTHER_NETWORK)), ace("b", **WIDE)], [ace("b", **WIDE)]),
    ("hidden behind a drop", [], [*no(ace("a")), to_name()]),
    ("a case of a name", [to_name("Cloud.Example.")], [to_name("cloud.example")]),
]


@pytest.mark.parametrize(("label", "old", "new"), WIDER, ids=[case[0] for case in WIDER])
def test_wider(label: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    before, after = acl(copy.deepcopy(old)), acl(copy.deepcopy(new))
    assert widens(before, after)
    comparison = compare(mud_file(copy.deepcopy(old)), mud_file(copy.deepcopy(new)))
    assert comparison.widens
    assert comparison.widened
    assert not widens(after, after)


@pytest.mark.parametrize(("label", "old", "new"), SAME_OR_NARROWER, ids=[case[0] for case in SAME_OR_NARROWER])
def test_not_wider(label: str, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    assert not widens(acl(copy.deepcopy(old)), acl(copy.deepcopy(new)))
    assert not compare(mud_file(copy.deepcopy(old)), mud_file(copy.deepcopy(new))).widens


def test_mac_addresses_are_part_of_the_comparison() -> None:
    def version(address: str, mask: str | None = None) -> DeviceAcl:
        eth = {"destination-mac-address": address} | ({"destination-mac-address-mask": mask} if mask else {})
        return acl([ace("a", eth=eth, ipv4={})], acl_type="mixed-eth-ipv4-acl-type")

    one, other = version("33:33:00:00:00:01"), version("33:33:00:00:00:02")
    group, everyone = (
        version("33:33:00:00:00:00", "ff:ff:00:00:00:00"),
        version("00:00:00:00:00:00", "00:00:00:00:00:00"),
    )
    for old, new, wider in (
        (one, one, False),
        (one, other, True),
        (one, group, True),
        (version("33:33:00:00:00:00"), group, True),
        (group, one, False),
        (group, everyone, True),
        (everyone, group, False),
        (group, version("33:34:00:00:00:01"), True),
        (acl([ace("a", ipv4={})]), one, False),
        (one, acl([ace("a", ipv4={})]), True),
    ):
        assert widens(old, new) is wider


def test_the_mud_url_is_part_of_the_meaning() -> None:
    """Controllers and makers hang on the URL. So another URL is another permission."""
    for mud in ({"my-controller": [None]}, {"same-manufacturer": [None]}):
        before = acl([ace("a", mud=dict(mud))])
        after = acl([ace("a", mud=dict(mud))], mud_url="https://evil.example/camera.json")
        assert widens(before, after)


def test_tls_profiles_are_part_of_the_comparison() -> None:
    def profile(*versions: str) -> dict[str, Any]:
        return {"tls-dtls-profile": [{"name": "cloud", "supported-tls-version": list(versions)}]}

    def version(profiles: dict[str, Any] | None) -> Any:
        return mud_file([to_name() if profiles is None else _with_profile(profiles)])

    def _with_profile(profiles: dict[str, Any]) -> dict[str, Any]:
        entry = to_name()
        entry["matches"]["ietf-acl-tls:client-profiles"] = profiles
        return entry

    thirteen, both, without = version(profile("tls13")), version(profile("tls12", "tls13")), version(None)
    for old, new, wider in (
        (thirteen, thirteen, False),
        (thirteen, both, True),
        (thirteen, without, True),
        (without, thirteen, False),
    ):
        assert compare(old, new).widens is wider
    assert (
        "TLS profile cloud: before versions: TLS 1.3, now versions: TLS 1.2, TLS 1.3."
        in compare(thirteen, both).changed
    )


def test_sentences() -> None:
    old = mud_file(
        [to_name(), ace("dns", udp={"destination-port": eq(53)}, mud={"controller": "urn:ietf:params:mud:dns"})],
        [from_name()],
    )
    new = mud_file(
        [
            to_name(port=8443),
            ace("lan", mud={"local-networks": [None]}),
            ace("dns", udp={"destination-port": eq(53)}, mud={"controller": "urn:ietf:params:mud:dns"}),
        ],
        [from_name()],
        last_update="2025-01-01T00:00:00Z",
        is_supported=False,
        cache_validity=24,
    )  # fmt: skip
    assert compare(old, new).lines() == [
        "This version is older than the one in force.",
        "New permissions:",
        "- The device may open connections to cloud.example: TCP, port 8443 (IPv4). "
        "Before: The device may open connections to cloud.example: TCP, port 443 (IPv4).",
        "- The device may send anything (IPv4) to the local networks.",
        "Permissions that end:",
        "- The device may open connections to cloud.example: TCP, port 443 (IPv4). "
        "Before: The device may open connections to cloud.example: TCP, port 8443 (IPv4).",
        "Other changes:",
        "- Support by the maker: before yes, now no.",
        "- The hours between two checks for a new version: before 48, now 24.",
    ]


def test_the_first_file_of_a_device_is_all_new() -> None:
    both = [ace("a", tcp={"destination-port": eq(1)})]
    file = mud_file(both, [], acl_type=None)
    comparison = compare(None, file)
    assert [change.text for change in comparison.widened] == [
        "The device may send TCP, port 1 (IPv4 and IPv6) to any address, here and in the Internet."
    ]
    assert (comparison.narrowed, comparison.changed, comparison.older) == ((), (), False)
    assert not compare(None, mud_file([], [])).widens


def test_what_is_skipped_is_told_once() -> None:
    odd = ace("odd", ipv4={"dscp": 1})
    assert len(compare(None, mud_file([odd])).remarks) == 1
    assert compare(mud_file([odd]), mud_file([to_name(), odd])).remarks == ()
    data = document([ace("odd", ipv4={"dscp": 1})])
    data[ACLS]["acl"][0]["aces"]["ace"][0]["matches"] = {"ipv4": {"ttl": 1}}
    assert "ttl" in compare(mud_file([odd]), parse_mud(octets(data))).remarks[0]


def test_a_large_file_is_compared_in_bounded_time() -> None:
    """At the limits, and with drops, so that nothing is settled by equality. Minutes would be a defect."""
    entries = [ace(str(number), udp={"destination-port": eq(number)}) for number in range(255)]
    drops = [ace(f"d{number}", action="drop", udp={"destination-port": eq(60000 + number)}) for number in range(255)]
    file = acl([*drops, *entries], acl_type=None)
    assert not widens(file, file)
    assert file.mud_url == sampling.URL

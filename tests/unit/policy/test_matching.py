"""What a policy says about a name at a place: patterns, order, networks, quarantine, standing."""

from __future__ import annotations

import fnmatch
import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import MatchRefusal, Policy, RequestFacts, Standing, Strength, parse_policy, ssid_of
from policy.matching import IdentityPattern, compile_glob

NOW = 1_796_000_000.0


def policy(*rules: str, extra: str = "") -> Policy:
    lines = "\n".join(f"- {{{rule}}}" for rule in rules)
    return parse_policy(f"version: 1\n{extra}\nrules:\n{lines}\n".encode())


def single(pattern: str) -> Policy:
    return policy(f"name: r, identity: ['{pattern}'], grant: {{vlan: 1}}")


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("a1._device.example.net", ["a1._device.example.net"],
         ["b1._device.example.net", "x.a1._device.example.net", "_device.example.net", "a1._device.example.net.evil"]),
        ("*._device.example.net", ["a1._device.example.net", "_x._device.example.net"],
         ["a1.camera._device.example.net", "_device.example.net", "a1._device.example.org", "a1.x_device.example.net"]),
        ("*.*._device.example.net", ["a1.camera._device.example.net"],
         ["a1._device.example.net", "x.a1.camera._device.example.net"]),
        ("**._device.example.net", ["a1._device.example.net", "a.b.c.d._device.example.net"],
         ["_device.example.net", "a1.x_device.example.net", "a1._device.example.net.evil"]),
        ("**.camera._device.example.net", ["a1.camera._device.example.net", "x.a1.camera._device.example.net"],
         ["camera._device.example.net", "a1._device.example.net", "a1.bigcamera._device.example.net"]),
        ("**.cam*._device.example.net", ["a1.camera._device.example.net", "x.a1.cam._device.example.net"],
         ["camera._device.example.net", "a1.scam._device.example.net"]),
        ("cam-*._device.example.net", ["cam-1._device.example.net", "cam-._device.example.net"],
         ["cam1._device.example.net", "xcam-1._device.example.net", "cam-1.x._device.example.net"]),
        ("*-cam-*._device.example.net", ["a-cam-b._device.example.net", "a-cam-cam-b._device.example.net"],
         ["cam-b._device.example.net", "a-cam._device.example.net"]),
        ("a.*.b.example.net", ["a.x.b.example.net"], ["a.b.example.net", "a.x.y.b.example.net", "c.x.b.example.net"]),
        ("Example.NET", ["example.net"], ["a.example.net", "badexample.net"]),
    ],
)  # fmt: skip
def test_patterns(pattern: str, covered: list[str], not_covered: list[str]) -> None:
    made = single(pattern)
    for name in covered:
        assert made.selects(name)
        assert made.match(name, RequestFacts(), now=NOW).rule is made.rules[0]
    for name in not_covered:
        assert not made.selects(name)
        assert made.match(name, RequestFacts(), now=NOW).rule is None


LABEL = st.text(alphabet="ab-", min_size=1, max_size=5)


@given(st.text(alphabet="ab*.+[", max_size=8), st.text(alphabet="ab.+[\n", max_size=10))
def test_glob_by_its_definition(glob: str, text: str) -> None:
    quoted = "".join("*" if c == "*" else f"[{c}]" if c == "[" else c for c in glob)
    assert bool(compile_glob(glob).match(text)) is bool(re.match(fnmatch.translate(quoted), text))


@given(st.lists(LABEL | st.sampled_from(["*", "a*", "*b"]), max_size=3), st.lists(LABEL, max_size=4), st.booleans())
def test_identity_patterns_by_their_definition(pattern: list[str], name: list[str], deep: bool) -> None:
    text = ".".join([*(["**"] if deep else []), *pattern, "example", "net"])
    compiled = IdentityPattern.compile(text)
    tail = name[len(name) - len(pattern) :] if len(name) >= len(pattern) else None
    expected = (
        tail is not None
        and (len(name) > len(pattern) if deep else len(name) == len(pattern))
        and all(fnmatch.fnmatchcase(label, part) for label, part in zip(tail, pattern, strict=True))
    )
    assert compiled.matches(".".join([*name, "example", "net"])) is expected
    assert not compiled.matches(".".join([*name, "example", "org"]))


PATTERNS = st.sampled_from(
    ["*._device.example.net", "**.example.net", "a1.*.example.net", "a1._device.example.net", "*.x.example.org",
     "**._device.example.org"]
)  # fmt: skip


@given(st.lists(PATTERNS, min_size=1, max_size=6))
@settings(deadline=None)
def test_the_index_finds_what_a_walk_over_the_rules_finds(patterns: list[str]) -> None:
    made = policy(*(f"name: r{i}, identity: ['{pattern}'], grant: {{}}" for i, pattern in enumerate(patterns)))
    for name in ("a1._device.example.net", "b1._device.example.net", "a1.example.net", "q.x.example.org",
                 "a._device.example.org", "example.net", "example.com"):  # fmt: skip
        walked = next((rule for rule, text in zip(made.rules, patterns, strict=True)
                       if IdentityPattern.compile(text).matches(name)), None)  # fmt: skip
        assert made.match(name, RequestFacts(), now=NOW).rule is walked


def test_the_names_above_devices_are_known_without_any_device() -> None:
    text = """\
version: 1
rules:
  - {name: cameras, identity: ["*.camera._device.example.net", "**._device.example.org"], grant: {vlan: 7}}
  - {name: none, identity: ["*._device.denied.example"], deny: true}
  - {name: one, identity: ["a1.lock._device.example.com", "b2.lock._device.example.com"], grant: {vlan: 8}}
"""
    policy = parse_policy(text.encode())
    assert policy.suffixes() == ["camera._device.example.net", "_device.example.org", "lock._device.example.com"]


def test_a_device_cannot_choose_how_long_matching_takes() -> None:
    """Twenty stars and a name of nothing but a: with backtracking this would not end within the age of the universe."""
    made = single("*a" * 20 + "*b._device.example.net")
    assert not made.selects("a" * 63 + "._device.example.net")
    assert made.selects("a" * 60 + "b._device.example.net")
    assert not compile_glob("*a" * 60 + "*b").match("a" * 250)


def test_the_first_rule_that_fits_name_and_place_decides() -> None:
    made = policy(
        "name: lab, identity: ['**.example.net'], networks: [lab], grant: {vlan: 1}",
        "name: stolen, identity: ['a1._device.example.net'], deny: true",
        "name: rest, identity: ['**.example.net'], grant: {vlan: 2}",
        extra="networks: {lab: {ssid: [lab]}}",
    )
    lab, home = RequestFacts(ssid="lab"), RequestFacts(ssid="home")
    for name, place, rule in (
        ("a1._device.example.net", lab, "lab"),
        ("a1._device.example.net", home, "stolen"),
        ("a2._device.example.net", home, "rest"),
        ("a2._device.example.net", lab, "lab"),
    ):
        match = made.match(name, place, now=NOW)
        assert match.rule is not None
        assert match.rule.name == rule
        assert match.grant is match.rule.grant


def test_a_name_that_is_covered_elsewhere_only() -> None:
    made = policy(
        "name: lab, identity: ['*._device.example.net'], networks: [lab], grant: {}",
        extra="networks: {lab: {ssid: [lab]}}",
    )
    elsewhere = made.match("a._device.example.net", RequestFacts(ssid="x"), now=NOW)
    assert (elsewhere.rule, elsewhere.named, elsewhere.refusal) == (None, True, MatchRefusal.NETWORK)
    assert "SSID x" in elsewhere.detail
    assert made.match("a._device.example.net", RequestFacts(), now=NOW).named
    assert not made.match("a._device.example.org", RequestFacts(), now=NOW).named


def serves(network: str, **facts: str | None) -> bool:
    made = policy(
        "name: r, identity: ['*._device.example.net'], networks: [n], grant: {}", extra=f"networks: {{n: {network}}}"
    )
    return made.match("a._device.example.net", RequestFacts(**facts), now=NOW).rule is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "facts", "expected"),
    [
        ("{ssid: [iot]}", {"ssid": "iot"}, True),
        ("{ssid: [iot]}", {"ssid": "IOT"}, False),
        ("{ssid: [iot]}", {"ssid": "iot2"}, False),
        ("{ssid: [iot]}", {"ssid": "xiot"}, False),
        ("{ssid: [iot]}", {"ssid": "iot\n"}, False),
        ("{ssid: [iot]}", {}, False),
        ("{ssid: ['iot-*', guests]}", {"ssid": "iot-5"}, True),
        ("{ssid: ['iot-*', guests]}", {"ssid": "guests"}, True),
        ("{ssid: ['*']}", {"ssid": "anything"}, True),
        # A request without an SSID comes from no wireless network at all.
        ("{ssid: ['*']}", {}, False),
        ("{ssid: ['*']}", {"ssid": ""}, False),
        ("{ssid: ['i.t']}", {"ssid": "iot"}, False),
        ("{nas: [ap-1]}", {"nas_identifier": "ap-1"}, True),
        ("{nas: ['ap-*']}", {"nas_identifier": "ap-77"}, True),
        ("{nas: ['ap-*']}", {"nas_identifier": "xap-77"}, False),
        ("{nas: ['ap-*']}", {}, False),
        ("{nas: [192.0.2.0/24]}", {"nas_address": "192.0.2.9"}, True),
        ("{nas: [192.0.2.0/24]}", {"nas_address": "192.0.3.9"}, False),
        ("{nas: [192.0.2.0/24]}", {"nas_address": "not an address"}, False),
        ("{nas: [192.0.2.0/24]}", {"nas_identifier": "192.0.2.9"}, False),
        ("{nas: [192.0.2.7]}", {"nas_address": "192.0.2.7"}, True),
        ("{nas: [192.0.2.7]}", {"nas_address": "192.0.2.8"}, False),
        ("{nas: ['2001:db8::/32']}", {"nas_address": "2001:db8::1"}, True),
        ("{nas: ['2001:db8::/32']}", {"nas_address": "192.0.2.7"}, False),
        ("{nas: ['0.0.0.0/0']}", {"nas_address": "2001:db8::1"}, False),
        ("{wired: true}", {"nas_port_type": "Ethernet"}, True),
        ("{wired: true}", {"nas_port_type": "15"}, True),
        ("{wired: true}", {"nas_port_type": "Wireless-802.11"}, False),
        ("{wired: true}", {}, False),
        ("{wired: false}", {"nas_port_type": "Wireless-802.11"}, True),
        ("{wired: false}", {"nas_port_type": "Ethernet"}, False),
        ("{ssid: [iot], nas: [ap-1]}", {"ssid": "iot", "nas_identifier": "ap-1"}, True),
        ("{ssid: [iot], nas: [ap-1]}", {"ssid": "iot", "nas_identifier": "ap-2"}, False),
        ("{ssid: [iot], nas: [ap-1]}", {"ssid": "x", "nas_identifier": "ap-1"}, False),
    ],
)
def test_networks(network: str, facts: dict[str, str], expected: bool) -> None:
    assert serves(network, **facts) is expected


@pytest.mark.parametrize(
    ("called", "ssid"),
    [
        ("00-10-A4-23-19-C0:iot", "iot"),
        ("00:10:a4:23:19:c0:iot", "iot"),
        ("0010A42319C0:iot", "iot"),
        ("00-10-A4-23-19-C0:a:b c", "a:b c"),
        ("00-10-A4-23-19-C0:", None),
        ("00-10-A4-23-19-C0", None),
        ("00-10-A4-23-19:iot", None),
        ("iot", None),
        ("00-10-A4-23-19-C0-iot", None),
        ("00-10-A4-23-19-C0:iot\0", None),
        ("00-10-A4-23-19-C0:iot\\000evil", None),
        ("", None),
        (None, None),
    ],
)
def test_ssid_of_called_station_id(called: str | None, ssid: str | None) -> None:
    assert ssid_of(called) == ssid


def test_quarantine_takes_the_place_of_the_grant_but_opens_no_door() -> None:
    made = policy(
        "name: r, identity: ['*._device.example.net'], grant: {vlan: 30}",
        "name: stolen, identity: ['*._device.example.org'], deny: true",
        extra="quarantine:\n  identity: ['bad*._device.example.net', '**.example.org', x.example.com]\n"
        "  grant: {vlan: 666}",
    )
    good = made.match("a._device.example.net", RequestFacts(), now=NOW)
    bad = made.match("bad1._device.example.net", RequestFacts(), now=NOW)
    assert good.grant is not None
    assert (good.standing, good.grant.vlan) == (Standing.NORMAL, 30)
    assert bad.grant is not None
    assert (bad.standing, bad.grant.vlan) == (Standing.QUARANTINED, 666)
    # A denied device stays denied, and one that no rule covers stays outside.
    assert made.match("a._device.example.org", RequestFacts(), now=NOW).grant is None
    assert made.match("x.example.com", RequestFacts(), now=NOW).rule is None


def test_monitoring() -> None:
    rules = (
        "name: a, identity: [a.example.net], mode: monitor, grant: {}",
        "name: b, identity: [b.example.net], grant: {}",
    )
    made = policy(*rules)
    assert [made.is_monitored(rule) for rule in (*made.rules, None)] == [True, False, False]
    made = policy(*rules, extra="mode: monitor")
    assert [made.is_monitored(rule) for rule in (*made.rules, None)] == [True, True, True]


def test_strength() -> None:
    table = {Strength.ANY: {0, 1, 2, 3, 4}, Strength.NO_CA: {2, 3}, Strength.PKIX: {0, 1}, Strength.DANE_EE: {3}}
    for strength, usage in itertools.product(Strength, range(7)):
        assert strength.allows(usage) is (usage in table[strength])

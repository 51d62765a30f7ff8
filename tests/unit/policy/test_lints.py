"""The examination of a policy: each finding beside a policy that has none, and claims that must always be true."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import DeviceStanding, RequestFacts, Standing, load_policy, parse_policy
from policy.analysis import CODES, Document, Finding, Level, examine
from policy.analysis.coverage import unreachable
from policy.analysis.dictionary import Dictionary, read_dictionary
from policy.analysis.lints import pattern_problem
from policy.matching.walk import walk

# 2026-12-01, a Tuesday.
NOW = 1_796_083_200.0
BASE = """\
version: 2
networks:
  house: {ssid: [iot, "iot-*"]}
zones:
  things: {vlan: 30}
  isolated: {vlan: 666}
standing: {quarantined: {zone: isolated}}
rules:
  - {name: things, identity: ["**._device.example.net"], networks: [house], zone: things}
  - {name: everything-else, default: true, refuse: true}
"""
DICTIONARY = """\
ATTRIBUTE Filter-Id 11 string
ATTRIBUTE Also-Filter-Id 11 string
VENDOR Acme 4711
BEGIN-VENDOR Acme
ATTRIBUTE Acme-Rate 2 integer
END-VENDOR Acme
"""


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Dictionary:
    path = tmp_path_factory.mktemp("dictionary") / "dictionary"
    path.write_text(DICTIONARY)
    return read_dictionary(path)


def no_underscores_twice(name: str) -> str | None:
    """A check of names with two rules of the real one."""
    if len(name) > 253:
        return "too long"
    return "two underscores" if any(label.startswith("__") for label in name.split(".")) else None


def findings(text: str, dictionary: Dictionary | None = None) -> list[Finding]:
    policy = parse_policy(text.encode())
    return examine(policy, Document(text.encode()), now=NOW, name_problem=no_underscores_twice, dictionary=dictionary)


def codes(text: str, dictionary: Dictionary | None = None) -> list[tuple[str, int | None]]:
    found = findings(text, dictionary)
    for finding in found:
        assert CODES[finding.code] is finding.level
        assert finding.message
        assert finding.fix
    return [(finding.code, finding.line) for finding in found]


def with_rules(*rules: str) -> str:
    """The base policy with rules in front of its own. The first stands in line 9."""
    return BASE.replace("rules:\n", "rules:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules))


def test_nothing_is_found_in_a_good_policy(dictionary: Dictionary) -> None:
    assert findings(BASE, dictionary) == []


def test_a_rule_behind_a_broader_one_is_unreachable() -> None:
    text = BASE.replace(
        "  - {name: everything-else",
        '  - {name: cameras, identity: ["*.camera._device.example.net"], networks: [house], zone: isolated}\n'
        "  - {name: everything-else",
    )
    assert codes(text) == [("unreachable-rule", 10)]
    assert "things (line 9) covers" in findings(text)[0].message


def test_a_rule_for_more_places_than_the_one_above_is_reached() -> None:
    text = BASE.replace(
        "  - {name: everything-else",
        '  - {name: cameras, identity: ["*.camera._device.example.net"], zone: isolated}\n  - {name: everything-else',
    )
    assert codes(text) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # A list of networks, and a network within another.
        (
            'name: a, identity: ["*.x.example.org"], networks: [house, wide], zone: things',
            'name: b, identity: ["c*.x.example.org"], networks: [narrow], zone: things',
        ),
        # Several rules for standings together.
        (
            'name: a, identity: ["*.x.example.org"], zone: things',
            'name: b, identity: ["*.x.example.org"], standing: [quarantined], zone: things',
        ),
        # Domains, by their name with and without the underscore label.
        ("name: a, domains: [example.org], zone: things", "name: b, domains: [_device.example.org], zone: things"),
        (
            "name: a, domains: [example.org], zone: things",
            'name: b, identity: ["*.x._device.example.org"], zone: things',
        ),
        (
            'name: a, identity: ["**._device.example.org"], zone: things',
            "name: b, domains: [_device.example.org], networks: [house], zone: things",
        ),
        ("name: a, domains: [x.example.org], zone: things", 'name: b, identity: ["*.x.example.org"], zone: things'),
        # Time.
        (
            'name: a, identity: ["*.x.example.org"], when: {from: "08:00", to: "20:00"}, zone: things',
            'name: b, identity: ["*.x.example.org"], when: {from: "09:00", to: "12:00", days: [mon]}, zone: things',
        ),
        (
            'name: a, identity: ["*.x.example.org"], when: {until: 2030-01-01}, zone: things',
            'name: b, identity: ["*.x.example.org"], when: {until: 2029-01-01, from: "22:00", to: "06:00"}, '
            "zone: things",
        ),
    ],
)
def test_what_covers_a_rule(first: str, second: str) -> None:
    text = with_rules(first, second).replace(
        "networks:\n",
        'networks:\n  wide: {ssid: ["lab-*"]}\n  narrow: {ssid: ["lab-1-*", lab-2], nas: [192.0.2.0/24]}\n',
        1,
    )
    assert [code for code, _ in codes(text) if code.startswith("unreach")] == ["unreachable-rule"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            'name: a, identity: ["*.x.example.org"], networks: [narrow], zone: things',
            'name: b, identity: ["*.x.example.org"], networks: [wide], zone: things',
        ),
        (
            'name: a, identity: ["*.x.example.org"], standing: [normal], zone: things',
            'name: b, identity: ["*.x.example.org"], zone: things',
        ),
        # A name of two labels is its own domain, and not below itself.
        (
            'name: a, identity: ["**.example.org"], zone: things',
            "name: b, domains: [example.org], zone: things",
        ),
        (
            "name: a, domains: [_device.example.org], zone: things",
            "name: b, domains: [example.org], zone: things",
        ),
        # The identity domain of `_a._b.example.org` depends on the name.
        (
            "name: a, domains: [example.org], zone: things",
            'name: b, identity: ["**.example.org"], zone: things',
        ),
        (
            'name: a, identity: ["*.x.example.org"], when: {from: "08:00", to: "20:00"}, zone: things',
            'name: b, identity: ["*.x.example.org"], when: {from: "20:00", to: "08:00"}, zone: things',
        ),
        (
            'name: a, identity: ["*.x.example.org"], when: {until: 2030-01-01}, zone: things',
            'name: b, identity: ["*.x.example.org"], zone: things',
        ),
        (
            'name: a, identity: ["*.x.example.org"], when: {from: "08:00", to: "20:00", timezone: Asia/Tokyo}, '
            "zone: things",
            'name: b, identity: ["*.x.example.org"], when: {from: "09:00", to: "12:00"}, zone: things',
        ),
    ],
)
def test_what_does_not_cover_a_rule(first: str, second: str) -> None:
    text = with_rules(first, second).replace(
        "networks:\n", 'networks:\n  wide: {ssid: ["lab-*"]}\n  narrow: {ssid: ["lab-1-*"]}\n', 1
    )
    assert [code for code, _ in codes(text) if code.startswith("unreach")] == []


def test_one_identity_of_several_is_unreachable() -> None:
    text = with_rules(
        'name: a, identity: ["*.x.example.org"], zone: things',
        'name: b, identity: ["d.x.example.org", "*.y.example.org"], zone: things',
    )
    assert codes(text) == [("unreachable-identity", 10)]
    assert "d.x.example.org" in findings(text)[0].message


def test_a_name_on_a_list_above_is_unreachable(tmp_path: Path) -> None:
    (tmp_path / "lost.txt").write_text("d.x.example.org\n")
    text = with_rules(
        "name: lost, devices: lost, refuse: true",
        'name: b, identity: ["d.x.example.org"], zone: things',
        'name: c, identity: ["e.x.example.org"], zone: things',
        "name: again, devices: lost, networks: [house], zone: things",
    ).replace("zones:\n", "device_lists: {lost: lost.txt}\nzones:\n", 1)
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    policy = load_policy(path)
    found = unreachable(policy, Document(text.encode()))
    assert [covered.rule.name for covered in found.rules] == ["b", "again"]


def test_the_last_rules_of_a_very_long_policy_are_not_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy.analysis.coverage.MAX_COMPARISONS", 3)
    text = with_rules(*(f'name: r{i}, identity: ["*{i}.x.example.org"], zone: things' for i in range(10)))
    assert ("not-examined", None) in codes(text)


# --- the claim that a rule is unreachable is compared with what rules decide

PATTERNS = ["**.a.e", "*.a.e", "x.a.e", "x*.a.e", "*._d.a.e", "x._d.a.e", "**._d.a.e", "*.y._d.a.e"]
NAMES = ["x.a.e", "xy.a.e", "z.a.e", "x._d.a.e", "z._d.a.e", "x.y._d.a.e", "z.z.a.e", "_d.a.e", "a.e"]
NETWORKS = {
    "one": "{ssid: [s1]}",
    "stars": '{ssid: ["s*"]}',
    "wires": "{wired: true}",
    "switch": "{nas: [n1, 192.0.2.0/25], wired: true}",
    "net": "{nas: [192.0.2.0/24]}",
    "ports": "{port_types: [Ethernet]}",
}
REQUESTS = [
    RequestFacts(ssid, identifier, address, port)
    for ssid, identifier, address, port in product(
        (None, "s1", "s2"), (None, "n1"), (None, "192.0.2.1", "192.0.2.200"), (None, "Ethernet", "Wireless-802.11")
    )
]


def told_apart(requests: list[RequestFacts]) -> list[RequestFacts]:
    """One request of each kind that the networks tell apart."""
    text = "version: 2\nnetworks:\n" + "".join(f"  {name}: {network}\n" for name, network in NETWORKS.items())
    text += f"zones: {{z: {{}}}}\nrules:\n  - {{name: r, domains: [a.e], networks: [{', '.join(NETWORKS)}], zone: z}}\n"
    networks = parse_policy(text.encode()).rules[0].networks or ()
    return list({tuple(network.matches(request) for network in networks): request for request in requests}.values())


# Within and outside of each window below.
TIMES = [NOW + 3600 * hour for hour in (0, 9, 13, 21, 24 * 200, 24 * 400)]
WINDOWS = [
    '{from: "08:00", to: "12:00"}',
    '{from: "08:00", to: "22:00"}',
    '{from: "20:00", to: "03:00"}',
    "{days: [tue]}",
    "{until: 2027-06-01}",
    "{since: 2026-12-05, until: 2027-06-01}",
]


def optional(strategy: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.just(""), strategy)


def some(key: str, values: list[str], most: int = 2) -> st.SearchStrategy[str]:
    chosen = st.lists(st.sampled_from(values), min_size=1, max_size=most, unique=True)
    return chosen.map(lambda each: f", {key}: [{', '.join(each)}]")


rules = st.lists(
    st.builds(
        lambda about, networks, standing, when: about + networks + standing + when,
        st.one_of(
            some("identity", [f'"{pattern}"' for pattern in PATTERNS]),
            some("domains", ["a.e", "_d.a.e", "y.e"]),
            st.builds(str.__add__, some("identity", [f'"{p}"' for p in PATTERNS]), some("domains", ["a.e", "_d.a.e"])),
        ),
        optional(some("networks", list(NETWORKS))),
        optional(some("standing", ["normal", "watched", "quarantined", "pending"], 4)),
        optional(st.sampled_from(WINDOWS).map(lambda window: f", when: {window}")),
    ),
    min_size=2,
    max_size=5,
)


@settings(max_examples=60)
@given(rules)
def test_a_rule_that_is_called_unreachable_decides_nothing(texts: list[str]) -> None:
    text = "version: 2\nnetworks:\n"
    text += "".join(f"  {name}: {network}\n" for name, network in NETWORKS.items())
    text += "zones: {z: {}}\nrules:\n"
    text += "".join(f"  - {{name: r{number}, zone: z{rule}}}\n" for number, rule in enumerate(texts))
    policy = parse_policy(text.encode())
    found = unreachable(policy, Document(text.encode()))
    claimed = {covered.rule.name for covered in found.rules}
    if not claimed:
        return
    devices = [DeviceStanding(standing) for standing in Standing if standing is not Standing.BLOCKED]
    for name, request, device, now in product(NAMES, told_apart(REQUESTS), devices, TIMES):
        for step in walk(policy, name, request, device, now):
            if step.miss is None:
                assert step.rule.name not in claimed, (text, name, request, device, now)


simple = st.lists(st.sampled_from(PATTERNS), min_size=2, max_size=5, unique=True)


@given(simple)
def test_every_pattern_that_one_above_covers_is_found(patterns: list[str]) -> None:
    text = "version: 2\nzones: {z: {}}\nrules:\n"
    text += "".join(f'  - {{name: r{i}, identity: ["{p}"], zone: z}}\n' for i, p in enumerate(patterns))
    policy = parse_policy(text.encode())
    found = {covered.rule.patterns[0] for covered in unreachable(policy, Document(text.encode())).rules}
    broader = {
        "*.a.e": {"**.a.e"},
        "x.a.e": {"**.a.e", "*.a.e", "x*.a.e"},
        "x*.a.e": {"**.a.e", "*.a.e"},
        "*._d.a.e": {"**.a.e", "**._d.a.e"},
        "x._d.a.e": {"**.a.e", "**._d.a.e", "*._d.a.e"},
        "**._d.a.e": {"**.a.e"},
        "*.y._d.a.e": {"**.a.e", "**._d.a.e"},
    }
    expected = {each for i, each in enumerate(patterns) if broader.get(each, set()) & set(patterns[:i])}
    assert found == expected


# --- the other findings


@pytest.mark.parametrize(
    ("pattern", "valid"),
    [
        ("*.a.example.net", True),
        ("_*.a.example.net", True),
        ("__*.a.example.net", False),
        ("a.__b.example.net", False),
        ("xn--*.example.net", True),
        (".".join(["a" * 60] * 4) + ".example.net", False),
        (".".join(["*" + "a" * 60] * 4) + ".e.n", True),
        ("**." + ".".join(["a" * 60] * 4) + ".exa.net", True),
        ("**." + ".".join(["a" * 60] * 4) + ".exam.net", False),
    ],
)
def test_patterns_that_no_valid_name_matches(pattern: str, valid: bool) -> None:
    assert (pattern_problem(pattern, no_underscores_twice) is None) is valid


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ('name: a, identity: ["*.__x.example.org"], zone: things', "identity-never-valid"),
        ('name: a, identity: ["*.x.example.org"], when: {until: 2026-12-01}, zone: things', "rule-ended"),
        ('name: a, identity: ["*.x.example.org"], when: {until: 2026-12-02}, zone: things', None),
        (
            'name: a, identity: ["*.x.example.org"], pkix_cd: true, require: no_ca, zone: things',
            "pkix-cd-without-effect",
        ),
        ('name: a, identity: ["*.x.example.org"], pkix_cd: true, zone: things', None),
        ('name: a, identity: ["*.x.example.org"], mode: monitor, zone: things', "monitor-mode"),
        ('name: a, identity: ["*.x.example.org"], approval: required, zone: things', "approval-without-zone"),
    ],
)
def test_findings_about_a_rule(rule: str, found: str | None) -> None:
    assert codes(with_rules(rule)) == ([(found, 9)] if found else [])


def test_an_ended_grant() -> None:
    text = BASE + 'grants:\n  - {name: may, identity: ["*.x.example.org"], zone: things, until: 2026-11-30}\n'
    assert codes(text) == [("rule-ended", 12)]
    assert codes(text.replace("2026-11-30", "2026-12-02")) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("networks:\n", "networks:\n  other: {ssid: [x]}\n", ("network-unused", 3)),
        ("zones:\n", "zones:\n  other: {vlan: 9}\n", ("zone-unused", 5)),
        ("{vlan: 666}", "{vlan: 30}", ("quarantine-not-isolated", 6)),
        ("  - {name: everything-else, default: true, refuse: true}\n", "", ("no-default", None)),
        ("version: 2\n", "version: 2\nmode: monitor\n", ("monitor-mode", None)),
        (
            'house: {ssid: [iot, "iot-*"]}',
            "house: {wired: true, port_types: [Wireless-802.11, 18]}",
            ("network-never-matches", 3),
        ),
        ('house: {ssid: [iot, "iot-*"]}', "house: {wired: false, port_types: [15]}", ("network-never-matches", 3)),
        ('house: {ssid: [iot, "iot-*"]}', "house: {realms: [home.example]}", ("network-by-realm-only", 3)),
    ],
)
def test_findings_about_a_section(old: str, new: str, found: tuple[str, int | None]) -> None:
    assert old in BASE
    assert codes(BASE.replace(old, new, 1)) == [found]


@pytest.mark.parametrize(
    "network",
    ["{wired: true, port_types: [Ethernet, Wireless-802.11]}", "{ssid: [a], realms: [home.example]}", "{wired: false}"],
)
def test_networks_without_findings(network: str) -> None:
    assert codes(BASE.replace('{ssid: [iot, "iot-*"]}', network, 1)) == []


def test_a_network_that_only_a_case_names_is_used() -> None:
    case = "tests:\n  - {name: t, device: a._device.example.net, network: other, expect: refuse}\n"
    assert codes(BASE.replace("networks:\n", "networks:\n  other: {ssid: [x]}\n", 1) + case) == []


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing yet\n")
    (tmp_path / "unused.txt").write_text("a.example.org\n")
    text = with_rules("name: lost, devices: empty, refuse: true").replace(
        "zones:\n", "device_lists:\n  empty: empty.txt\n  unused: unused.txt\nzones:\n", 1
    )
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    found = examine(
        load_policy(path), Document(text.encode()), now=NOW, name_problem=no_underscores_twice, dictionary=None
    )
    assert [(finding.code, finding.line) for finding in found] == [("list-empty", 5), ("list-unused", 6)]


def test_a_rule_that_quarantines_without_a_zone() -> None:
    standing = "standing: {rules: [{name: cloned, stations: 2, within: 1h, set: quarantined}]}"
    text = BASE.replace("standing: {quarantined: {zone: isolated}}", standing).replace("  isolated: {vlan: 666}\n", "")
    assert codes(text) == [("quarantine-without-zone", 6)]


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ("{Acme-Rate: 2000000}", None),
        ("{Acme-Rate: fast}", "attribute-value"),
        ("{Acme-Rate: -1}", "attribute-value"),
        ("{Acme-Rat: 1}", "attribute-unknown"),
        ("{Also-Filter-Id: x}", "attribute-conflict"),
    ],
)
def test_attributes_are_compared_with_the_dictionary(
    dictionary: Dictionary, attributes: str, found: str | None
) -> None:
    text = BASE.replace("things: {vlan: 30}", f"things: {{vlan: 30, attributes: {attributes}}}")
    assert codes(text, dictionary) == ([(found, 5)] if found else [])
    assert codes(text) == []


def test_a_reply_that_needs_fragments(dictionary: Dictionary) -> None:
    def filters(count: int) -> str:
        rules = ", ".join(f'"permit in ip from any to 192.0.2.{number}"' for number in range(count))
        return BASE.replace("things: {vlan: 30}", f"things: {{vlan: 30, nas_filter_rules: [{rules}]}}")

    assert codes(filters(20), dictionary) == []
    assert codes(filters(30), dictionary) == [("packet-fragmented", 5)]


def test_version_1() -> None:
    text = """\
version: 1
quarantine:
  identity: [a.x.example.org, "*.y.example.org", b.z.example.org]
  grant: {vlan: 666}
rules:
  - {name: none, identity: ["*.x.example.org"], deny: true}
  - {name: some, identity: ["*.z.example.org"], grant: {vlan: 1}}
  - {name: same, identity: ["c.z.example.org"], grant: {vlan: 1}}
"""
    assert codes(text) == [("quarantine-unreachable", 3), ("quarantine-unreachable", 3), ("unreachable-rule", 8)]


def test_levels_are_known() -> None:
    assert set(CODES.values()) == set(Level)

"""Policy files: what they mean, and how each mistake is named (file, key, found, expected)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import PolicyError, load_policy, parse_policy
from policy.facts import Standing, Strength
from policy.loading.loader import MAX_POLICY_OCTETS

FULL = """
version: 1
mode: enforce
session: {ttl_factor: 4, minimum: 2m}
networks:
  iot: {ssid: [iot, "iot-*"]}
  lab: {nas: [ap-lab-*, 192.0.2.0/24, "2001:db8::/32", 198.51.100.7]}
  wall: {wired: true}
quarantine:
  identity: ["bad.camera._device.example.net"]
  grant: {vlan: 666, session_timeout: 60}
rules:
  - name: cameras
    identity: ["*.camera._device.example.net", "**._device.example.org."]
    networks: [iot, lab]
    require: dane_ee
    mode: monitor
    grant:
      vlan: 30
      filter_id: cameras
      nas_filter_rules: [permit in ip from any to 192.0.2.0/24, deny in ip from any to any]
      session_timeout: 8h
      idle_timeout: 10m
      reauthenticate: false
      class: cam
  - {name: stolen, identity: [S1._Device.Example.Net], deny: true}
  - {name: cd, identity: ["*._device.example.com"], pkix_cd: true, grant: {vlan: guests}}
"""


def test_a_whole_policy() -> None:
    policy = parse_policy(FULL.encode(), "policy.yaml")
    cameras, stolen, cd = policy.rules
    assert cameras.patterns == ("*.camera._device.example.net", "**._device.example.org")
    assert [network.name for network in cameras.networks or ()] == ["iot", "lab"]
    assert (cameras.require, cameras.monitor, cameras.allow_pkix_cd) == (Strength.DANE_EE, True, False)
    assert cameras.grant is not None
    assert (cameras.grant.vlan, cameras.grant.session_timeout, cameras.grant.idle_timeout) == (30, 28800, 600)
    assert (cameras.grant.reauthenticate, cameras.grant.class_, len(cameras.grant.nas_filter_rules)) == (
        False,
        "cam",
        2,
    )
    assert stolen.grant is None
    assert stolen.patterns == ("s1._device.example.net",)
    assert cd.allow_pkix_cd
    assert (policy.ttl_factor, policy.minimum_session, policy.monitor) == (4, 120, False)
    assert policy.source == "policy.yaml"
    assert len(policy.digest) == 64
    assert policy.standing_zones.quarantine_grant is not None
    assert Standing.QUARANTINED == "quarantined"


RULE = "- {name: r, identity: [a._device.example.net], grant: {vlan: 1}}"


def rule(text: str) -> str:
    return f"version: 1\nrules:\n- {{name: r, identity: [a._device.example.net], {text}}}\n"


def identity(text: str) -> str:
    return f"version: 1\nrules:\n- {{name: r, identity: [{text}], grant: {{}}}}\n"


def grant(text: str) -> str:
    return rule(f"grant: {{{text}}}")


def network(text: str) -> str:
    return f"version: 1\nnetworks:\n  n: {text}\nrules: []\n"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["None found, a mapping with version and rules is expected"]),
        ("just text", ["'just text' found, a mapping"]),
        ("[1, 2]", ["[1, 2] found, a mapping"]),
        ("rules: []", ["version: nothing found"]),
        ("version: 1", ["rules: nothing found"]),
        ("version: 3\nrules: []", ["version: 3 found; 1 or 2 is expected"]),
        ("version: '1'\nrules: []", ["version: '1' found"]),
        ("version: true\nrules: []", ["version: True found; a number is expected"]),
        ("version: 1\nrules: {}", ["rules: {} found"]),
        ("version: 1\nrules: []\nmodes: x", ["modes: unknown key"]),
        ("version: 1\nmode: loose\nrules: []", ["mode: 'loose' found; input should be 'enforce' or 'monitor'"]),
        ("version: 1\nrules: []\nrules: []", ["line 3, column 1: duplicate key 'rules' (first in line 2)"]),
        ("version: 1\nrules:\n- {name: a, name: b}", ["line 3, column 13: duplicate key 'name'"]),
        ("version: 1\nrules: [", ["line 3, column 1: did not find"]),
        ("version: 1\nrules: []\n--- \nversion: 1", ["line 3"]),
        ("? [a, b]\n: 1", ["a plain key is expected"]),
        ("version: 1\nsession: {ttl_factor: 0}\nrules: []", ["session.ttl_factor: 0 found"]),
        ("version: 1\nsession: {ttl_factor: 1001}\nrules: []", ["session.ttl_factor: 1001 found"]),
        ("version: 1\nsession: {minimum: 29s}\nrules: []", ["session.minimum: "]),
        ("version: 1\nsession: {minimum: 2d}\nrules: []", ["session.minimum: "]),
        (rule("grant: {vlan: 1}, deny: true"), ["rules[0]: grant found beside deny: true; one of the two is expected"]),
        (rule("deny: false"), ["rules[0]: grant (or deny: true) is expected"]),
        (rule("grant: {}, require: ee"), ["rules[0].require: 'ee' found; input should be 'any'"]),
        (rule("grant: {}, pkix_cd: 'yes'"), ["rules[0].pkix_cd: 'yes' found"]),
        (rule("grant: {}, networks: [nowhere]"), ["'nowhere' found; one of networks is expected (none"]),
        (rule("grant: {}, networks: []"), ["rules[0].networks: [] found"]),
        (rule("grant: {}, networks: iot"), ["rules[0].networks: 'iot' found"]),
        (f"version: 1\nrules:\n{RULE}\n{RULE}", ["rules[1].name: duplicate 'r'"]),
        ("version: 1\nrules:\n- {name: 'a b', identity: [a.example.net], grant: {}}", ["rules[0].name: 'a b' found"]),
        ("version: 1\nrules:\n- {name: 7, identity: [a.example.net], grant: {}}", ["rules[0].name: 7 found"]),
        ('version: 1\nrules:\n- {name: "a\\n", identity: [a.example.net], grant: {}}', ["rules[0].name: 'a\\n' found"]),
        (identity(""), ["rules[0].identity: [] found"]),
        (identity("'**'"), ["rules[0].identity[0]: '**' found; at least two labels"]),
        (identity("'*.net'"), ["rules[0].identity[0]: '*.net' found; the two rightmost labels"]),
        (identity("'a.*.net'"), ["the two rightmost labels"]),
        (identity("'**.net'"), ["the two rightmost labels"]),
        (identity("'a.**.example.net'"), ["'**' (any number of labels) is expected at the left end only"]),
        (identity("'a**.example.net'"), ["label 'a**'"]),
        (identity("a..example.net"), ["label ''"]),
        (identity("a b.example.net"), ["label 'a b'"]),
        (identity("-a.example.net"), ["label '-a'"]),
        (identity(f"{'a' * 64}.example.net"), ["label 'aaa"]),
        (identity(f"{'a.' * 130}example.net"), ["at most 253 octets"]),
        (identity("bücher.example.net"), ["A-labels"]),
        (identity('"\\u212aelvin.example.net"'), ["A-labels"]),
        (identity("1.5"), ["rules[0].identity[0]: 1.5 found"]),
        (grant("vlan: 0"), ["vlan: 0 found; a VLAN ID from 1 to 4094 is expected"]),
        (grant("vlan: 4095"), ["4094"]),
        (grant("vlan: '30'"), ["without quotes"]),
        (grant("vlan: true"), ["True found"]),
        (grant("vlan: 010"), ["line 3, column", "'010': a plain number is expected"]),
        (grant("vlan: 0x10"), ["'0x10': a plain number"]),
        (grant("vlan: 1_0"), ["'1_0': a plain number"]),
        (grant("session_timeout: 1:30"), ["session_timeout: '1:30' found", "for example 8h"]),
        (grant("session_timeout: 59"), ["session_timeout: "]),
        (grant("session_timeout: 8d"), ["session_timeout: "]),
        (grant("session_timeout: 1.5h"), ["for example 8h"]),
        (grant("session_timeout: -60"), ["for example 8h"]),
        (grant("session_timeout: 60.0"), ["a number of seconds"]),
        (grant("session_timeout: true"), ["a number of seconds"]),
        (grant("session_timeout: '٦٠'"), ["for example 8h"]),
        (grant("idle_timeout: 9"), ["idle_timeout: "]),
        (grant("filter_id: ''"), ["1 to 253 printable octets"]),
        (grant(f"filter_id: {'x' * 254}"), ["1 to 253 printable octets"]),
        (grant('filter_id: "a\\nb"'), ["1 to 253 printable octets"]),
        (grant('filter_id: "\\ud800"'), ["line 3, column"]),
        (grant("class_: x"), ["rules[0].grant.class_: unknown key"]),
        (grant("nas_filter_rules: [5]"), ["nas_filter_rules[0]: 5 found"]),
        (grant(f"nas_filter_rules: [{'x' * 254}]"), ["1 to 253 printable octets"]),
        (
            grant(f"nas_filter_rules: [{', '.join(['x' * 251] * 12)}]"),
            ["nas_filter_rules of 3012 octets in all, at most 3000 expected"],
        ),
        (grant("reauthenticate: 1"), ["reauthenticate: 1 found"]),
        (network("{}"), ["networks.n: at least one of ssid, nas, wired is expected"]),
        (network("{ssid: []}"), ["networks.n.ssid: [] found"]),
        (network("{ssid: [on]}"), ["networks.n.ssid[0]: True found"]),
        (network("{nas: [192.0.2.1/24]}"), ["networks.n.nas[0]: '192.0.2.1/24' found", "host bits set"]),
        (network("{nas: [192.0.2.256]}"), ["a NAS-Identifier, an IP address or a network"]),
        (network("{nas: ['2001:db8::g']}"), []),
        (network("{nas: ['2001:db8:::1']}"), ["a NAS-Identifier, an IP address or a network"]),
        (network("{nas: [ap/1]}"), ["a NAS-Identifier, an IP address or a network"]),
        (network("{wired: 'on'}"), ["networks.n.wired: 'on' found"]),
        ("version: 1\nnetworks: {'a b': {wired: true}}\nrules: []", ["networks"]),
        ("version: 1\nquarantine: {identity: [a.example.net]}\nrules: []", ["quarantine.grant: nothing found"]),
        ("version: 1\nquarantine: {identity: [], grant: {}}\nrules: []", ["quarantine.identity: [] found"]),
        # Tags that do not fit their node, on which PyYAML itself stumbles.
        ("version: !!int ''\nrules: []", ["a plain number"]),
        ("version: !!bool x\nrules: []", ["a plain yes or no"]),
        ("version: !!timestamp x\nrules: []", ["could not determine a constructor"]),
        ("!!map [a, b]", [""]),
        ("!!map text", [""]),
        ("version: !!python/object/apply:os.system [id]", ["could not determine a constructor"]),
        ("version: 1\nrules: [*nobody]", ["undefined alias"]),
        ("version: 1\nrules: &a [*a]", [""]),
        ("[" * 3000, ["nest"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(text: str, problems: list[str]) -> None:
    octets = text.encode("utf-8", "surrogatepass")
    if not problems:
        parse_policy(octets)
        return
    with pytest.raises(PolicyError) as caught:
        parse_policy(octets, "p.yaml")
    assert str(caught.value).startswith("p.yaml: ")
    for problem in problems:
        assert problem in str(caught.value)
    assert all(len(line) < 400 for line in caught.value.problems)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(b"version: 3\nmode: x\nrules: [{name: r, identity: [a], grant: {vlan: 0}}]")
    assert len(caught.value.problems) == 4


def test_aliases_that_stand_for_gigabytes() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    with pytest.raises(PolicyError, match="unknown key"):
        parse_policy("\n".join(levels).encode())
    with pytest.raises(PolicyError, match="rules"):
        parse_policy("\n".join([*levels, "version: 1", "rules: [*a29]"]).encode())


@pytest.mark.parametrize("template", ["[{}]", "{{{}}}"])
def test_values_that_stand_for_gigabytes_are_cut(template: str) -> None:
    levels = ["a0: &a0 x"]
    for i in range(1, 30):
        items = [f"*a{i - 1}" if template == "[{}]" else f"k{n}: *a{i - 1}" for n in range(9)]
        levels.append(f"a{i}: &a{i} {template.format(', '.join(items))}")
    for version, place in ((1, "mode: *a29\nrules: []"), (1, "rules: [{name: *a29}]"), (2, "rules: *a29"),
                           (2, "rules: [{name: r, default: true, refuse: *a29}]"),
                           (2, "zones: {a: {attributes: {A: *a29}}}\nrules: []")):  # fmt: skip
        with pytest.raises(PolicyError) as caught:
            parse_policy("\n".join([*levels, f"version: {version}", place]).encode())
        assert all(len(line) < 500 for line in caught.value.problems)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    with pytest.raises(PolicyError, match=r"policy\.yaml: cannot be read: No such file"):
        load_policy(path)
    path.write_text(FULL)
    assert load_policy(path).digest == parse_policy(FULL.encode()).digest
    path.write_bytes(b"version: 1\nrules: []\n# \xff\n")
    with pytest.raises(PolicyError, match="octet 23 is not UTF-8"):
        load_policy(path)
    path.write_bytes(b"#" * (MAX_POLICY_OCTETS + 1))
    with pytest.raises(PolicyError, match="more than"):
        load_policy(path)
    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(tmp_path)


SCALAR = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=6)
    | st.sampled_from(["*.example.net", "8h", "monitor"])
)
KEY = st.sampled_from(["version", "mode", "rules", "networks", "quarantine", "session", "name", "identity", "grant",
                       "vlan", "ssid", "nas", "wired", "deny", "class", "minimum"])  # fmt: skip
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=4), max_leaves=15
)


@given(st.dictionaries(KEY, VALUE, max_size=5))
@settings(deadline=None)
def test_any_mapping_is_a_policy_or_a_policy_error(data: dict[str, object]) -> None:
    octets = yaml.safe_dump({**data, "version": 1}).encode()
    try:
        policy = parse_policy(octets)
    except PolicyError as error:
        problems = error.problems
    else:
        problems = ["none"] if policy.digest else []
    assert problems


@given(st.text(alphabet="abv:-[]{}&*!?|>%@`'\"#,\n \t1_.~", max_size=60))
@settings(deadline=None)
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    with pytest.raises(PolicyError):
        parse_policy(text.encode())

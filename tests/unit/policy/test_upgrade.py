"""From version 1 to version 2: the same access, every comment, and the same order."""

from __future__ import annotations

import re
from itertools import product

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import Policy, PolicyError, RequestFacts, grant_attributes, parse_policy
from policy.analysis import UpgradeError, upgrade

NOW = 1_796_083_200.0
VERSION_1 = """\
# The policy of the house
version: 1   # the language
mode: enforce
session:
  ttl_factor: 12 # factor
networks:
  house: {ssid: [iot, "iot-*"]}
  cellar: {nas: ["switch-*", 192.0.2.0/24], wired: true}

# Devices that went wrong
quarantine:  # VLAN: 666
  # since May
  identity:
    - "a1b2.lock._device.example.net"  # the front door
    - "*.tv._device.example.net"
  grant: {vlan: 666, session_timeout: 1h} # isolated

# The rules
rules:
  # Locks come first
  - name: locks
    identity: ["*.lock._device.example.net"]
    networks: [house]
    require: dane_ee
    grant: {vlan: 7, session_timeout: 1h}  # the VLAN of the locks
  - name: recalled   # bad heaters
    identity: ["*.heater._device.example.net"]
    deny: true  # no more
  # The same access as for locks
  - name: same
    identity: ["*.bell._device.example.net"]
    grant: {vlan: 7, session_timeout: 1h}
  - name: televisions
    identity: ["living.tv._device.example.net"]
    grant: {vlan: 8}

  # All others
  - name: everything-else
    identity: ["**._device.example.net"]
    grant:  # for: all
      # the VLAN
      vlan: 42  # of things
      session_timeout: 8h
      # idle
      idle_timeout: 10m
      filter_id: iot
      nas_filter_rules:
        - "permit in udp from any to any 53"  # DNS # allowed
        # and no more
        - "deny in ip from any to any"
      class: iot
      reauthenticate: true  # yes
  # The end
"""
VERSION_2 = """\
# The policy of the house
version: 2   # the language
mode: enforce
session:
  ttl_factor: 12 # factor
networks:
  house: {ssid: [iot, "iot-*"]}
  cellar: {nas: ["switch-*", 192.0.2.0/24], wired: true}

# Devices that went wrong

zones:
  # The quarantine of version 1. `dane-operations quarantine` moves devices there without a change of this file,
  # if `standing: {quarantined: {zone: ...}}` names the zone.
  # VLAN: 666
  # since May
  # isolated
  # the front door
  quarantine:
    vlan: 666
    session:
      timeout: 1h
  locks:
    vlan: 7
    session:
      timeout: 1h
  everything-else:
    # for: all
    # the VLAN
    vlan: 42  # of things
    session:
      timeout: 8h
      # idle
      idle_timeout: 10m
      reauthenticate: true  # yes
    filter_id: iot
    nas_filter_rules:
      - "permit in udp from any to any 53"  # DNS # allowed
      # and no more
      - "deny in ip from any to any"
    class: iot

# The rules
rules:
  - name: locks-quarantined
    identity: ["a1b2.lock._device.example.net"]
    networks: [house]
    require: dane_ee
    zone: quarantine
  # Locks come first
  - name: locks
    identity: ["*.lock._device.example.net"]
    networks: [house]
    require: dane_ee
    zone: locks  # the VLAN of the locks
  - name: recalled   # bad heaters
    identity: ["*.heater._device.example.net"]
    refuse: true  # no more
  # The same access as for locks
  - name: same
    identity: ["*.bell._device.example.net"]
    zone: locks
  - name: televisions
    identity: ["living.tv._device.example.net"]
    zone: quarantine

  - name: everything-else-quarantined
    identity: ["a1b2.lock._device.example.net", "*.tv._device.example.net"]
    zone: quarantine
  # All others
  - name: everything-else
    identity: ["**._device.example.net"]
    zone: everything-else
  # The end
"""


def same_access(old: Policy, new: Policy, name: str, request: RequestFacts) -> None:
    before, after = old.match(name, request, now=NOW), new.match(name, request, now=NOW)
    where = name, request
    assert (before.grant is None) == (after.grant is None), where
    assert before.refusal == after.refusal, where
    assert old.selects(name) == new.selects(name), where
    assert old.could_grant(name) == new.could_grant(name), where
    assert old.allows_pkix_cd(name) == new.allows_pkix_cd(name), where
    assert (before.rule is None) == (after.rule is None), where
    if before.rule is None or after.rule is None:
        return
    # A rule for what was in quarantine has a name of its own, which is its Class if no other is given.
    assert re.sub(r"-quarantined(-\d)?$", "", after.rule.name) == before.rule.name, where
    assert after.rule.require is before.rule.require
    assert after.rule.allow_pkix_cd is before.rule.allow_pkix_cd
    assert old.is_monitored(before.rule) == new.is_monitored(after.rule)
    if before.grant is not None and after.grant is not None:
        replies = [
            grant_attributes(match.grant, user_name=name, rule="same", cui=None)
            for match in (before, after)
            if match.grant is not None
        ]
        assert replies[0] == replies[1], where
        assert before.grant.session_timeout == after.grant.session_timeout, where


def comments(text: str) -> set[str]:
    return {match.strip() for match in re.findall(r"(?:^|\s)#\s?(.*)$", text, re.MULTILINE)}


def test_an_example() -> None:
    assert upgrade(VERSION_1) == VERSION_2


def test_no_comment_is_lost() -> None:
    assert comments(VERSION_1) <= comments(upgrade(VERSION_1))


def test_once_is_enough() -> None:
    assert upgrade(VERSION_2) == VERSION_2


def test_line_endings_are_kept() -> None:
    upgraded = upgrade(VERSION_1.replace("\n", "\r\n"))
    assert upgraded == VERSION_2.replace("\n", "\r\n")


def test_json_is_upgraded_to_json() -> None:
    text = (
        '{"version": 1, "quarantine": {"identity": ["a.x.e.net"], "grant": {"vlan": 9}}, "rules": ['
        '{"name": "a", "identity": ["*.x.e.net"], "grant": {"vlan": 1, "session_timeout": "1h"}},'
        '{"name": "b", "identity": ["*.y.e.net"], "deny": true}]}'
    )
    upgraded = upgrade(text)
    old, new = parse_policy(text.encode()), parse_policy(upgraded.encode())
    for name in ("a.x.e.net", "b.x.e.net", "a.y.e.net", "a.z.e.net"):
        same_access(old, new, name, RequestFacts())


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nrules: []\n",
        "rules: []\nversion: 1\n",
        "version: 1\nrules: []",
        "version: 1\nquarantine: {identity: [a.e.net], grant: {}}\nrules: []\n",
        "version: 1\nrules: [{name: a, identity: [a.e.net], deny: true, grant: null}]\nquarantine:\n",
        "{rules: [], quarantine: {identity: [a.e.net], grant: {}}, version: 1}\n",
        "version: 1\nrules:\n- name: a\n  identity: [a.e.net]\n  grant:\n    vlan:\n    class: c\n",
        "version: 1\nrules:\n-   name: a\n    identity: [a.e.net]\n    grant: {vlan: 3}\n",
        "version: 1\nrules:\n- {name: a, identity: [a.e.net], grant: {}}\n",
        "version: 1\nrules:\n- name: a\n  identity: [a.e.net]\n"
        '  "grant": {"vlan": 3, "class": "a # b", \'filter_id\': x}\n',
        "version: 1\nrules:\n- name: a\n  grant: {vlan: 3, # three\n    filter_id: x # ex\n    # last\n    }\n"
        "  identity: [a.e.net]\n",
        "version: 1\nrules:\n- name: a\n  identity: [a.e.net]\n  grant:\n    class: |-\n      text\n    vlan: 4\n",
        "version: 1\nrules:\n- name: a\n  identity: [a.e.net]\n"
        "  grant:\n    class: >-\n      text\n      more\n  mode: monitor\n",
        "version: 1\nrules:\n- name: yes-no\n  identity: [a.e.net]\n  grant: {vlan: 4}\n",
        'version: 1\nrules:\n- name: "123"\n  identity: [a.e.net]\n  grant: {vlan: 4}\n',
        'version: 1\nrules:\n- name: "on"\n  identity: [a.e.net]\n  networks: [n]\n  grant: {vlan: 4}\n'
        "networks: {n: {ssid: [a]}}\n",
        "---\nversion: 1\nrules:\n  - name: a\n    identity:\n      - A.E.net.\n    deny: false\n"
        "    grant: {vlan: 4}\n...\n",
        "version: 1\nrules:\n  -\n    name: a\n    identity: [a.e.net]\n    grant: {vlan: 4}\nquarantine:\n"
        "  grant: {vlan: 6}\n  identity: ['*.e.net', a.e.net]\n",
        "version: 1\nquarantine:\n  grant: {vlan: 6}\n  identity: [b*.e.net]\nrules:\n  -\n    # inside\n    name: a\n"
        "    identity: ['*a.e.net']\n    grant: {vlan: 4}\n",
    ],
)
def test_ways_to_write_a_policy(text: str) -> None:
    upgraded = upgrade(text)
    old, new = parse_policy(text.encode()), parse_policy(upgraded.encode())
    assert new.version == 2
    assert comments(text.replace("a # b", "")) <= comments(upgraded)
    for name in ("a.e.net", "ba.e.net", "b.e.net", "b-a.e.net", "e.net", "a.b.e.net"):
        same_access(old, new, name, RequestFacts(ssid="a"))
    assert upgrade(upgraded) == upgraded


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("version: 1\nrules:\n- {name: a, identity: [a.e.net], grant: &g {vlan: 1}}\n", 3),
        (
            "version: 1\nrules:\n- name: a\n  identity: &all [a.e.net]\n  deny: true\n"
            "- {name: b, identity: *all, deny: true}\n",
            4,
        ),
    ],
)
def test_anchors_are_left_to_a_person(text: str, line: int) -> None:
    with pytest.raises(UpgradeError, match=f"line {line}: an anchor"):
        upgrade(text)


def test_patterns_without_a_common_pattern_are_left_to_a_person() -> None:
    stars = ".".join(["*a*b*"] * 8 + ["e.net"])
    other = ".".join(["*b*a*"] * 8 + ["e.net"])
    text = (
        f'version: 1\nquarantine: {{identity: ["{stars}"], grant: {{}}}}\nrules:\n'
        f'- {{name: a, identity: ["{other}"], grant: {{}}}}\n'
    )
    with pytest.raises(UpgradeError, match="line 4"):
        upgrade(text)


def test_an_invalid_policy_is_not_upgraded() -> None:
    with pytest.raises(PolicyError):
        upgrade("version: 1\nrules: [{name: a}]\n")
    with pytest.raises(PolicyError):
        upgrade("version: 3\nrules: []\n")


# --- policies of every kind get the same access

PATTERNS = ["**.a.e", "*.a.e", "x.a.e", "x*.a.e", "*y.a.e", "*._d.a.e", "x.y._d.a.e", "**._d.a.e", "b.e"]
NAMES = ["x.a.e", "xy.a.e", "y.a.e", "z.a.e", "x._d.a.e", "x.y._d.a.e", "z.z.a.e", "b.e", "a.e", "c.e"]
NETWORKS = {"one": {"ssid": ["s*"]}, "wires": {"wired": True}, "net": {"nas": ["n1", "192.0.2.0/24"]}}
REQUESTS = [RequestFacts(ssid, "n1", None, port) for ssid, port in product((None, "s1", "t"), (None, "Ethernet"))] + [
    RequestFacts("s1"),
    RequestFacts(nas_address="192.0.2.9"),
]

grants = st.fixed_dictionaries(
    {},
    optional={
        "vlan": st.sampled_from([1, 30, "guests"]),
        "filter_id": st.sampled_from(["f", "a: b", "# no comment", "yes"]),
        "nas_filter_rules": st.lists(st.sampled_from(["permit in ip from any to any", "deny: all # now"]), max_size=2),
        "session_timeout": st.sampled_from([60, "2h"]),
        "idle_timeout": st.sampled_from([60, "10m", None]),
        "reauthenticate": st.booleans(),
        "class": st.sampled_from(["c", "k=v"]),
    },
)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, object]:
    rules = []
    for number in range(draw(st.integers(1, 4))):
        rule: dict[str, object] = {
            "name": draw(st.sampled_from(["r", "rule-", "quarantine", "x" * 40])) + str(number),
            "identity": draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True)),
        }
        if draw(st.booleans()):
            rule["networks"] = draw(st.lists(st.sampled_from(list(NETWORKS)), min_size=1, max_size=2, unique=True))
        if draw(st.booleans()):
            rule["require"] = draw(st.sampled_from(["any", "no_ca", "dane_ee"]))
        if draw(st.booleans()):
            rule["pkix_cd"] = draw(st.booleans())
        if draw(st.booleans()):
            rule["mode"] = draw(st.sampled_from(["enforce", "monitor"]))
        if draw(st.integers(0, 4)) == 0:
            rule["deny"] = True
        else:
            rule["grant"] = draw(grants)
        rules.append(dict(draw(st.permutations(list(rule.items())))))
    policy: dict[str, object] = {"version": 1, "networks": NETWORKS, "rules": rules}
    if draw(st.booleans()):
        identity = draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True))
        policy["quarantine"] = {"identity": identity, "grant": draw(grants)}
    if draw(st.booleans()):
        policy["mode"] = draw(st.sampled_from(["enforce", "monitor"]))
    return dict(draw(st.permutations(list(policy.items()))))


def numbered(text: str) -> set[str]:
    return {word for comment in comments(text) for word in comment.split("; ") if re.fullmatch(r"c\d+", word)}


@settings(max_examples=200)
@given(policies(), st.sampled_from([None, True, False]), st.sampled_from([2, 4]))
def test_every_policy_gets_the_same_access(data: dict[str, object], flow: bool | None, indent: int) -> None:
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=flow, indent=indent, width=60)
    # Each line that can have a comment has one.
    if flow is not True:
        text = "".join(
            f"{line}  # c{number}\n" if line.endswith((":", "- ", "true")) else f"{line}\n"
            for number, line in enumerate(text.splitlines())
        )
    upgraded = upgrade(text)
    old, new = parse_policy(text.encode()), parse_policy(upgraded.encode())
    assert new.version == 2
    assert numbered(text) <= numbered(upgraded), (text, upgraded)
    assert (old.ttl_factor, old.minimum_session, old.monitor) == (new.ttl_factor, new.minimum_session, new.monitor)
    for name, request in product(NAMES, REQUESTS):
        same_access(old, new, name, request)
    assert upgrade(upgraded) == upgraded

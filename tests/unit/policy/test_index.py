"""The index gives what a walk over all rules gives, for any policy, name, place, standing and time."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import (
    DeviceStanding,
    Grant,
    Policy,
    RequestFacts,
    Rule,
    RuleKind,
    Standing,
    Strength,
    TimeWindow,
    Zone,
)
from policy.matching import IdentityPattern, Network, StandingZones, compile_glob
from policy.matching.device_lists import NameTable
from policy.matching.glob_index import GlobIndex
from policy.matching.name_trie import NameTrie
from policy.matching.slots import Entry, Leaf, Slot
from policy.matching.walk import covers, match_by_walk

NOW = 1_796_000_000.0

LABELS = st.sampled_from(["a", "b", "ab", "ba", "aab", "cam-1", "cam-22", "x", "_device", "_x", "a" * 63])
NAMES = st.builds(
    lambda labels, base: ".".join([*labels, base]),
    st.lists(LABELS, max_size=4),
    st.sampled_from(["example.net", "_device.example.net", "example.org", "cam._device.example.net"]),
)
GLOBS = st.sampled_from(["*", "*", "a*", "*b", "a*b", "*a*", "*am*2*", "a*a*", "cam-*", "*-1", "*m-*", "ab", "b"])
PATTERNS = st.builds(
    lambda deep, labels, base: ".".join([*(["**"] if deep else []), *labels, base]),
    st.booleans(),
    st.lists(GLOBS, max_size=3),
    st.sampled_from(["example.net", "_device.example.net", "example.org", "cam._device.example.net"]),
)
DOMAINS = st.lists(st.sampled_from(["example.net", "_device.example.net", "example.org", "_x.example.net"]), max_size=2)
LISTS = {
    "one": NameTable.of(["a.example.net", "ab._device.example.net", "cam-1.example.org"]),
    "two": NameTable.of(["a.example.net", "b.cam._device.example.net"]),
    "none": NameTable.of([]),
}


def network(name: str, ssid: str | None = None, nas: str | None = None, **more: Any) -> Network:
    import ipaddress

    networks = (ipaddress.ip_network(nas),) if nas and "/" in nas else ()
    patterns = (nas,) if nas and not networks else ()
    return Network(
        name,
        None if ssid is None else (compile_glob(ssid),),
        tuple(map(compile_glob, patterns)),
        networks,
        nas is not None,
        more.get("wired"),
        realms=more.get("realms"),
        port_types=more.get("port_types"),
        ssid_patterns=None if ssid is None else (ssid,),
        nas_patterns=patterns,
    )


NETWORKS = (
    network("home", ssid="home"),
    network("homes", ssid="home*"),
    network("any", ssid="*"),
    network("lab", nas="ap-*-lab*"),
    network("site", nas="192.0.2.0/24"),
    network("site6", nas="2001:db8::/32"),
    network("both", ssid="home", nas="ap-1"),
    network("wall", wired=True),
    network("realm", realms=frozenset({"home.example"})),
    network("homerealm", ssid="home", realms=frozenset({"home.example", "other.example"})),
    network("radio", port_types=frozenset({"19"})),
)
PLACES = st.builds(
    RequestFacts,
    ssid=st.sampled_from([None, "", "home", "home-2", "x"]),
    nas_identifier=st.sampled_from([None, "ap-1", "ap-7-lab", "ap--labx"]),
    nas_address=st.sampled_from([None, "192.0.2.7", "192.0.3.7", "2001:db8::1", "none"]),
    nas_port_type=st.sampled_from([None, "Ethernet", "Wireless-802.11", "19"]),
    realm=st.sampled_from([None, "home.example", "x.example"]),
)
WINDOWS = st.sampled_from(
    [None, None, None, TimeWindow(since=NOW + 10), TimeWindow(until=NOW + 20), TimeWindow(until=NOW - 20),
     TimeWindow(since=NOW - 10, until=NOW + 10), TimeWindow(begins=60, ends=120), TimeWindow(begins=120, ends=60)]
)  # fmt: skip
STANDINGS = st.sampled_from([None, None, None, frozenset({Standing.NORMAL}), frozenset({Standing.QUARANTINED}),
                             frozenset({Standing.NORMAL, Standing.WATCHED, Standing.PENDING})])  # fmt: skip
GRANT = Grant(vlan=7)


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    made = []
    for number in range(draw(st.integers(0, 8))):
        patterns = tuple(draw(st.lists(PATTERNS, max_size=3)))
        domains = tuple(draw(DOMAINS))
        devices = draw(st.sampled_from([None, None, "one", "two", "none"]))
        chosen = draw(st.none() | st.lists(st.sampled_from(NETWORKS), min_size=1, max_size=3))
        made.append(
            Rule(
                f"r{number}",
                patterns,
                None if chosen is None else tuple(chosen),
                Strength.ANY,
                allow_pkix_cd=draw(st.booleans()),
                monitor=False,
                grant=draw(st.sampled_from([GRANT, GRANT, None])),
                domains=domains,
                devices=devices if patterns or domains or devices else "one",
                window=draw(WINDOWS),
                standings=draw(STANDINGS),
                approval=draw(st.booleans()),
            )
        )
    if draw(st.booleans()):
        grant = draw(st.sampled_from([None, GRANT]))
        made.append(
            Rule("last", (), None, Strength.ANY, allow_pkix_cd=False, monitor=False, grant=grant,
                 kind=RuleKind.DEFAULT)
        )  # fmt: skip
    return tuple(made)


DEVICES = st.none() | st.builds(
    DeviceStanding,
    st.sampled_from(Standing),
    st.booleans(),
    st.sampled_from([None, "guests", "nowhere"]),
    st.sampled_from([None, NOW - 1, NOW, NOW + 5]),
)
ZONES = StandingZones(
    {name: Zone(name, None, Grant(vlan=vlan)) for vlan, name in enumerate(("guests", "quarantine"), 1)},
    quarantined="quarantine",
)


@given(rules(), st.lists(NAMES, min_size=1, max_size=4), st.lists(PLACES, min_size=1, max_size=3), DEVICES,
       st.floats(-90_000, 90_000))  # fmt: skip
@settings(deadline=None, max_examples=600)
def test_the_index_finds_what_a_walk_finds(
    made: tuple[Rule, ...], names: list[str], places: list[RequestFacts], device: DeviceStanding | None, later: float
) -> None:
    policy = Policy(
        made,
        device_lists=LISTS,
        standing_zones=ZONES,
        quarantine=(IdentityPattern.compile("a*.example.org"),),
    )
    for name in names:
        for place in places:
            found = policy.match(name, place, device, now=NOW + later)
            assert found == match_by_walk(policy, name, place, device, NOW + later)
        covering = [rule for rule in made if covers(rule, name, LISTS)]
        assert policy.allows_pkix_cd(name) is any(rule.allow_pkix_cd for rule in covering)
        assert policy.selects(name) is any(rule.grant is not None or not rule.is_default for rule in covering)
        assert policy.could_grant(name) is could_grant(covering)


def could_grant(covering: list[Rule]) -> bool:
    for rule in covering:
        if rule.grant is not None:
            return True
        if rule.networks is None and rule.window is None and rule.standings is None:
            return False
    return False


@given(st.lists(st.text(alphabet="ab-*", min_size=1, max_size=7), max_size=12), st.text(alphabet="ab-", max_size=12))
def test_globs_are_found_as_if_each_were_tried(patterns: list[str], label: str) -> None:
    wanted = {pattern for pattern in patterns if "*" in pattern and pattern.strip("*")}
    index: GlobIndex[str] = GlobIndex()
    for pattern in patterns:
        if pattern in wanted:
            index.put(pattern, pattern)
    index.freeze()
    found: list[str] = []
    index.find(label, found)
    assert len(found) == len(set(found))
    assert set(found) == {pattern for pattern in wanted if compile_glob(pattern).match(label)}


@given(st.lists(PATTERNS, max_size=8), NAMES)
@settings(deadline=None)
def test_the_tree_finds_what_each_pattern_matches(patterns: list[str], name: str) -> None:
    trie = NameTrie()
    slots: list[Slot] = []
    for number, pattern in enumerate(patterns):
        rule = Rule(f"r{number}", (pattern,), None, Strength.ANY, allow_pkix_cd=False, monitor=False, grant=None)
        trie.add(pattern, Entry(number, None, None, None, rule, False), slots)
    trie.freeze()
    found: list[Leaf] = []
    trie.find(name, found)
    entries = [entry for leaf in found for entry in (leaf.entries if isinstance(leaf, Slot) else [leaf])]
    assert {entry.number for entry in entries} == {
        n for n, text in enumerate(patterns) if IdentityPattern.compile(text).matches(name)
    }


@pytest.mark.parametrize("kind", ["prefix", "suffix", "around", "pieces", "names", "networks", "windows", "standings"])
def test_what_is_tried_does_not_grow_with_the_policy(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of leaves and of rules that a hostile name makes the index try are those of a small policy."""
    import policy.matching.index as index_module

    tried = []
    original = index_module._buckets

    def counting(leaf: Leaf, networks: tuple[int, ...]) -> list[tuple[int, ...]]:
        buckets = original(leaf, networks)
        tried.append(sum(map(len, buckets)))
        return buckets

    monkeypatch.setattr(index_module, "_buckets", counting)
    costs = []
    for count in (10, 3000):
        policy = Policy(tuple(_of_kind(kind, number) for number in range(count)))
        chance = random.Random(1)
        tried.clear()
        for _ in range(50):
            name = f"cam-{chance.randrange(count)}-x.camera._device.example.net"
            policy.match(name, RequestFacts(ssid=f"s{chance.randrange(count)}"), now=NOW)
            policy.match("a" * 63 + ".camera._device.example.net", RequestFacts(ssid="s1"), now=NOW)
            policy.match(".".join("a" * 60) + "._device.example.net", RequestFacts(ssid="s1"), now=NOW)
        costs.append(sum(tried))
    assert costs[1] <= costs[0] * 3


def _of_kind(kind: str, number: int) -> Rule:
    base = "camera._device.example.net"
    patterns = {
        "prefix": (f"cam-{number}-*.{base}",),
        "suffix": (f"*-{number}-x.{base}",),
        "around": (f"c*-{number}-x.{base}",),
        "pieces": (f"*-{number}-*.{base}",),
        "names": (f"cam-{number}-x.{base}",),
    }
    return Rule(
        f"r{number}",
        patterns.get(kind, (f"*.{base}",)),
        (network(f"n{number}", ssid=f"s{number}"),) if kind == "networks" else None,
        Strength.ANY,
        allow_pkix_cd=False,
        monitor=False,
        grant=GRANT,
        window=TimeWindow(until=NOW - 5) if kind == "windows" else None,
        standings=frozenset({Standing.WATCHED}) if kind == "standings" else None,
    )

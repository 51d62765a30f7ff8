"""What changes between two policies: in words, and for devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import parse_policy
from policy.analysis import Difference, Document, compare, sample_names, sample_places

NOW = 1_796_083_200.0
OLD = """\
version: 2
networks:
  house: {ssid: [iot]}
  cellar: {wired: true}
zones:
  things: {vlan: 30, filter_id: things}
  isolated: {vlan: 666}
standing: {quarantined: {zone: isolated}}
rules:
  - {name: recalled, identity: ["*.old._device.example.net"], refuse: true}
  - {name: locks, identity: ["*.lock._device.example.net"], networks: [house], require: dane_ee, zone: things}
  - {name: things, identity: ["**._device.example.net"], zone: things}
  - {name: everything-else, default: true, refuse: true}
tests:
  - {name: a lock, device: front.lock._device.example.net, network: house, expect: {zone: things}}
"""


def difference(new: str, old: str = OLD, **lists: tuple[frozenset[str], frozenset[str]]) -> Difference:
    before, after = old.encode(), new.encode()
    return compare(
        parse_policy(before), Document(before), parse_policy(after), Document(after), now=NOW, lists=lists or None
    )


def test_the_same_policy() -> None:
    found = difference(OLD)
    assert found.text == ()
    assert found.access == ()
    assert found.compared > 10


def test_comments_and_writing_are_no_change() -> None:
    new = OLD.replace("version: 2\n", "# new\nversion: 2\nmode: enforce\ntimezone: UTC\n")
    assert difference(new).text == ()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("version: 2\n", "version: 2\nmode: monitor\n", "mode: enforce becomes monitor"),
        ("version: 2\n", "version: 2\nsession: {minimum: 5m}\n", "session: nothing becomes {minimum: 5m}"),
        ("{quarantined: {zone: isolated}}", "{pending: {zone: isolated}}", "standing: pending is now {zone: isolated}"),
        ("{ssid: [iot]}", "{ssid: [iot, lab]}", "network house: ssid is now [iot, lab], not [iot]"),
        ("{wired: true}", "{wired: true, nas: [a]}", "network cellar: nas is now [a]"),
        ("filter_id: things}", "filter_id: other}", "zone things: filter_id is now other, not things"),
        (", filter_id: things}", "}", "zone things: filter_id (things) is removed"),
        ("zones:\n", "zones:\n  extra: {vlan: 9}\n", "zone extra is new: {vlan: 9}"),
        ("require: dane_ee, ", "", "rule locks: require is now any, not dane_ee"),
        ("networks: [house], ", "", "rule locks: networks is now nothing, not [house]"),
        ("refuse: true}\n  - {name: locks", "zone: things}\n  - {name: locks", "rule recalled: it no longer refuses"),
        (
            "rules:\n",
            'rules:\n  - {name: x, identity: ["x.e.net"], refuse: true}\n',
            "rule x is new: identity [x.e.net]",
        ),
        (
            "default: true, refuse: true",
            "default: true, refuse: go away",
            "rule everything-else: the reason of the refusal",
        ),
        ("require: dane_ee", 'when: {from: "08:00"}', "rule locks: when is now from 08:00 to 24:00 (UTC), not nothing"),
        ("require: dane_ee", "approval: required", "rule locks: approval is now true, not false"),
        (
            "require: dane_ee",
            "standing: [watched, normal]",
            "rule locks: standing is now [normal, watched], not nothing",
        ),
    ],
)
def test_what_the_files_say(old: str, new: str, text: str) -> None:
    assert old in OLD
    assert any(line.startswith(text) for line in difference(OLD.replace(old, new, 1)).text), difference(
        OLD.replace(old, new, 1)
    )


def test_a_removed_rule() -> None:
    lines = OLD.splitlines(keepends=True)
    new = "".join(line for line in lines if "name: recalled" not in line)
    found = difference(new)
    assert found.text == ("rule recalled is removed",)
    assert {(change.device, change.old, change.new) for change in found.access} >= {
        ("a1.old._device.example.net", "refused: policy_denied, rule recalled", "zone things, rule things")
    }


def test_a_moved_rule_is_named_once() -> None:
    lines = OLD.splitlines(keepends=True)
    recalled = next(line for line in lines if "name: recalled" in line)
    others = [line for line in lines if line != recalled]
    position = next(i for i, line in enumerate(others) if "name: everything" in line)
    found = difference("".join([*others[:position], recalled, *others[position:]]))
    assert found.text == ("rule recalled is moved below things",)
    assert "zone things, rule things" in {change.new for change in found.access}


def test_an_example_case_that_changes_is_named() -> None:
    found = difference(
        OLD.replace("networks: [house], require: dane_ee, zone: things", "networks: [house], zone: isolated")
    )
    case = next(change for change in found.access if change.case is not None)
    assert (case.case, case.device, case.place) == ("a lock", "front.lock._device.example.net", "network house")
    assert (case.old, case.new) == ("zone things, rule locks", "zone isolated, rule locks")


def test_a_changed_zone_changes_its_devices() -> None:
    found = difference(OLD.replace("{vlan: 30, filter_id: things}", "{vlan: 31, filter_id: things}"))
    assert found.text == ("zone things: vlan is now 31, not 30",)
    change = next(change for change in found.access if change.device.endswith(".lock._device.example.net"))
    assert (change.old, change.new) == ("zone things, rule locks", "zone things, rule locks, otherwise than before")


def test_a_change_for_devices_in_quarantine_only() -> None:
    found = difference(OLD.replace("isolated: {vlan: 666}", "isolated: {vlan: 667}"))
    assert found.access
    assert all(change.place.endswith("(quarantined)") for change in found.access)


def test_another_description_changes_no_access() -> None:
    found = difference(OLD.replace("{vlan: 666}", "{vlan: 666, description: isolated}"))
    assert found.text == ("zone isolated: description is now isolated",)
    assert found.access == ()


def test_lists() -> None:
    found = difference(OLD, lost=(frozenset({"a.example.net", "b.example.net"}), frozenset({"b.example.net"})))
    assert found.text == ("device list lost: 1 name removed (a.example.net)",)


@given(st.permutations(range(8)))
def test_moves_lead_from_one_order_to_the_other(order: list[int]) -> None:
    def policy(numbers: list[int]) -> str:
        rules = "".join(f"  - {{name: r{n}, identity: [a{n}.e.net], zone: z}}\n" for n in numbers)
        return f"version: 2\nzones: {{z: {{}}}}\nrules:\n{rules}"

    found = difference(policy(list(order)), policy(list(range(8)))).text
    moved = [line.split()[1] for line in found]
    stay = [n for n in order if f"r{n}" not in moved]
    assert stay == sorted(stay)
    # No fewer moves are possible: a longest increasing sequence stays.
    longest = [1] * len(order)
    for i, n in enumerate(order):
        longest[i] = 1 + max((longest[j] for j in range(i) if order[j] < n), default=0)
    assert len(stay) == max(longest)


def test_samples_reach_every_rule_and_every_network() -> None:
    policy = parse_policy(OLD.encode())
    places = [place.request for place in sample_places((policy, Document(OLD.encode())))]
    reached = {
        match.rule.name
        for name in [*sample_names(policy), "stranger.example.com"]
        for request in places
        if (match := policy.match(name, request, now=NOW)).rule is not None
    }
    assert reached == {rule.name for rule in policy.rules}

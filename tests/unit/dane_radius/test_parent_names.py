"""The names above devices that are looked up regularly."""

from __future__ import annotations

from dane_radius.dns.parent_names import REPEAT_SECONDS, ParentNames


def test_names_of_the_policy_are_due_at_once_and_again_after_the_period() -> None:
    names = ParentNames(10)
    names.set_policy_names(["a.example", "b.example"], 0.0)
    assert sorted(names.take_due(0.0)) == ["a.example", "b.example"]
    assert names.take_due(REPEAT_SECONDS - 0.1) == []
    assert len(names.take_due(REPEAT_SECONDS)) == 2


def test_a_new_policy_replaces_the_names_and_keeps_the_time_of_common_ones() -> None:
    names = ParentNames(10)
    names.set_policy_names(["a.example", "b.example"], 0.0)
    names.take_due(0.0)
    names.set_policy_names(["b.example", "c.example"], 1.0)
    assert names.take_due(1.0) == ["c.example"]
    assert len(names) == 2


def test_parent_names_of_admitted_devices_are_kept_up_to_the_limit() -> None:
    names = ParentNames(3)
    names.set_policy_names(["policy.example"], 0.0)
    for number in range(10):
        names.device_admitted(f"d{number}.example", 0.0)
        names.device_admitted("d0.example", 0.0)
    assert len(names) == 3
    assert sorted(names.take_due(REPEAT_SECONDS)) == ["d0.example", "d9.example", "policy.example"]
    # The name of the device itself was looked up a moment ago, so this one is not due at once.
    names.device_admitted("new.example", 100.0)
    assert "new.example" not in names.take_due(100.0)


def test_many_names_are_due_in_turns_up_to_the_limit() -> None:
    names = ParentNames(20)
    names.set_policy_names([f"d{number:02}.example" for number in range(50)], 0.0)
    assert len(names) == 20
    first, second, third = (names.take_due(0.0, at_most=8) for _ in range(3))
    assert [len(first), len(second), len(third)] == [8, 8, 4]
    assert len({*first, *second, *third}) == 20


def test_a_limit_of_0_turns_the_lookups_off() -> None:
    names = ParentNames(0)
    names.set_policy_names(["a.example"], 0.0)
    names.device_admitted("b.example", 0.0)
    assert names.take_due(1000.0) == []

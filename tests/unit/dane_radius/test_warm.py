"""Which names above devices are looked up without being asked for."""

from __future__ import annotations

from dane_radius.dns.warm import REPEAT_SECONDS, WarmNames


def test_names_of_the_policy_are_due_at_once_and_again_after_a_while() -> None:
    warm = WarmNames(10)
    warm.keep(["a.example", "b.example"], 0.0)
    assert sorted(warm.due(0.0)) == ["a.example", "b.example"]
    assert warm.due(REPEAT_SECONDS - 0.1) == []
    assert len(warm.due(REPEAT_SECONDS)) == 2


def test_a_policy_that_changes_drops_its_names_and_keeps_the_others_turn() -> None:
    warm = WarmNames(10)
    warm.keep(["a.example", "b.example"], 0.0)
    warm.due(0.0)
    warm.keep(["b.example", "c.example"], 1.0)
    assert warm.due(1.0) == ["c.example"]
    assert len(warm) == 2


def test_names_above_devices_that_were_let_in_are_kept_and_bounded() -> None:
    warm = WarmNames(3)
    warm.keep(["policy.example"], 0.0)
    for number in range(10):
        warm.used(f"d{number}.example", 0.0)
        warm.used("d0.example", 0.0)
    assert len(warm) == 3
    assert sorted(warm.due(REPEAT_SECONDS)) == ["d0.example", "d9.example", "policy.example"]
    # It has just been asked about: not due at once.
    warm.used("new.example", 100.0)
    assert "new.example" not in warm.due(100.0)


def test_many_names_are_due_in_turns_and_too_many_are_cut_off() -> None:
    warm = WarmNames(20)
    warm.keep([f"d{number:02}.example" for number in range(50)], 0.0)
    assert len(warm) == 20
    first, second, third = (warm.due(0.0, at_most=8) for _ in range(3))
    assert [len(first), len(second), len(third)] == [8, 8, 4]
    assert len({*first, *second, *third}) == 20


def test_none_are_kept_when_it_is_off() -> None:
    warm = WarmNames(0)
    warm.keep(["a.example"], 0.0)
    warm.used("b.example", 0.0)
    assert warm.due(1000.0) == []

"""The memory budget of all registries."""

from __future__ import annotations

from trust_sync.feeds import MemoryBudget


def test_one_within_its_share_is_never_refused() -> None:
    budget = MemoryBudget(100, 4)
    assert budget.hold("a", 90)
    assert not budget.hold("a", 101)
    assert budget.hold("b", 10)
    assert not budget.hold("b", 26)
    assert budget.hold("b", 25)
    assert budget.hold("c", 25)
    budget.release("a")
    assert budget.hold("b", 75)
    assert not budget.hold("b", 76)

"""The fair queue: sources take turns, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_sync.sessions.fair_queue import FairQueue


def test_sources_take_turns_and_keep_their_own_order() -> None:
    queue = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "a1", "c1", "c2"):
        queue.put(item[0], item)
    assert len(queue) == 6
    assert queue.remove("a2")
    assert not queue.remove("a2")
    assert [queue.pop() for _ in range(len(queue))] == ["a1", "b1", "c1", "a3", "c2"]
    with pytest.raises(KeyError):
        queue.pop()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans())))
def test_nothing_is_lost_or_doubled(steps: list[tuple[str, int, bool]]) -> None:
    queue, model = FairQueue(), set()
    for source, number, add in steps:
        item = f"{source}{number}"
        if add:
            queue.put(source, item)
            model.add(item)
        else:
            assert queue.remove(item) == (item in model)
            model.discard(item)
    assert sorted(queue.items) == sorted(model)
    assert sorted(queue.pop() for _ in range(len(queue))) == sorted(model)

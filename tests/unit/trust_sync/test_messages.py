"""The responses of a registry, read element by element."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust_sync.feed_setting import change
from trust_sync.feeds import ChangesReader, FeedError
from trust_sync.registries.messages import Change


def read_changes(items: list[Any], following: int) -> ChangesReader[Change]:
    """The response to a poll for the changes after 10."""
    answer = ChangesReader(Change, 10)
    for item in items:
        answer.take("changes", item, {})
    answer.finish({"next": following}, {"changes": len(items)})
    return answer


def test_changes_come_in_the_order_of_their_numbers_or_not_at_all() -> None:
    items = [change(11), change(11), change(5), change(13), change(12), change(14)]
    answer = read_changes(items, 14)
    assert [item.seq for item in answer.changes] == [11, 13, 14]
    assert answer.problems.count == 3


@pytest.mark.parametrize(("items", "following"), [([], 9), ([change(11)], 10), ([change(11)], 3)])
def test_a_feed_that_goes_back_is_not_followed(items: list[Any], following: int) -> None:
    with pytest.raises(FeedError, match=r"goes back|there is a change"):
        read_changes(items, following)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["seq", "type", "name", "domain", "anchor", "pem"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.lists(_json, max_size=5), st.integers(0, 20))
def test_any_changes_are_read_or_complained_about(items: list[Any], following: int) -> None:
    try:
        answer = read_changes(items, following)
    except FeedError:
        return
    assert len(answer.changes) + answer.problems.count == len(items)

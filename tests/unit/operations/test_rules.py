"""Rules over what the nodes report: an admission proves the name, a refusal does not."""

from __future__ import annotations

import datetime as dt

import pytest

from operations.core.rules import Seen, judge
from operations.core.standing import State
from policy import Standing, StandingRule
from tests.unit.operations.conftest import NOW

MINUTE = dt.timedelta(minutes=1)
CLONED = StandingRule("cloned", 2, None, 3600, Standing.QUARANTINED, 86400)
REJECTED = StandingRule("rejected", None, 3, 300, Standing.WATCHED, None)
# As a policy file could not have it: the language refuses it. The rules must refuse it, too.
GREEDY = StandingRule("greedy", None, 3, 300, Standing.BLOCKED, None)


def stations(*ages: int) -> Seen:
    return Seen({f"02-{number:02}": NOW - age * MINUTE for number, age in enumerate(ages)}, ())


def refusals(*ages: int) -> Seen:
    return Seen({}, [NOW - age * MINUTE for age in ages])


def test_more_stations_than_allowed_is_a_clone() -> None:
    assert judge([CLONED], stations(1, 2), State(), NOW) is None
    found = judge([CLONED], stations(1, 2, 3), State(), NOW)
    assert found is not None
    assert (found.rule, found.wish.standing, found.wish.until) == (
        "cloned",
        Standing.QUARANTINED,
        NOW + dt.timedelta(hours=24),
    )
    assert "3 stations within 1 h" in found.wish.reason


def test_what_is_older_than_the_period_does_not_count() -> None:
    assert judge([CLONED], stations(1, 2, 61), State(), NOW) is None
    assert judge([REJECTED], refusals(1, 2, 6), State(), NOW) is None


def test_as_many_refusals_as_named_is_enough() -> None:
    assert judge([REJECTED], refusals(1, 2), State(), NOW) is None
    found = judge([REJECTED], refusals(1, 2, 3), State(), NOW)
    assert found is not None
    assert (found.wish.standing, found.wish.until) == (Standing.WATCHED, None)


def test_refusals_lead_to_watched_at_most_whatever_the_rule_says() -> None:
    found = judge([GREEDY], refusals(*range(4)), State(), NOW)
    assert found is not None
    assert found.wish.standing is Standing.WATCHED


def test_the_strictest_rule_counts() -> None:
    seen = Seen(stations(1, 2, 3).stations, refusals(1, 2, 3).refusals)
    for rules in ([CLONED, REJECTED], [REJECTED, CLONED]):
        found = judge(rules, seen, State(), NOW)
        assert found is not None
        assert found.rule == "cloned"


@pytest.mark.parametrize(("released", "again"), [(0, False), (2, False), (10, True)])
def test_what_was_before_a_release_does_not_count_again(released: int, again: bool) -> None:
    state = State(released_at=NOW - released * MINUTE)
    assert (judge([CLONED], stations(1, 2, 3), state, NOW) is not None) == again

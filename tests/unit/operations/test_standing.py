"""Who may change a standing how. Machines make it stricter only, whatever they say and in whatever order."""

from __future__ import annotations

import contextlib
import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dane_radius.local import Entry, read_entry, standing_now
from operations.core.reasons import StandingReason
from operations.core.standing import SEVERITY, Power, State, Wish, approve, change, expired, in_force, stricter
from operations.store import change_feed
from operations.store.models import Change
from policy import DeviceStanding, Standing
from tests.unit.operations.conftest import CAMERA, NOW
from web_service.core import Reason, Refused

HOUR = dt.timedelta(hours=1)
N, W, Q, B, P = Standing.NORMAL, Standing.WATCHED, Standing.QUARANTINED, Standing.BLOCKED, Standing.PENDING


def person(state: State, standing: Standing, reason: str = "because", **fields: object) -> State | None:
    return change(state, Wish(standing, reason, **fields), Power.PERSON, "local:ada", NOW)  # type: ignore[arg-type]


def monitor(state: State, standing: Standing, **fields: object) -> State | None:
    return change(state, Wish(standing, "seen", **fields), Power.MONITOR, "key:ids", NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("before", list(Standing))
@pytest.mark.parametrize("after", list(Standing))
def test_a_person_may_do_everything(before: Standing, after: Standing) -> None:
    found = person(State(standing=before), after)
    assert (found or State(standing=before)).standing is after
    assert (found is None) == (before is after)


def test_a_release_needs_a_reason_and_one_that_ends_says_what_follows() -> None:
    with pytest.raises(Refused) as caught:
        person(State(standing=Q), N, reason="  ")
    assert caught.value.field == "reason"
    with pytest.raises(Refused) as caught:
        person(State(standing=Q), N, until=NOW + HOUR)
    assert caught.value.field == "then"
    trial = person(State(standing=Q), N, until=NOW + HOUR, then=Q)
    assert trial is not None
    assert not trial.plain
    assert in_force(trial, NOW + HOUR).standing is Q


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        (Wish(Q, until=NOW), "until"),
        (Wish(Q, until=NOW - HOUR), "until"),
        (Wish(Q, then=W), "then"),
        (Wish(B, zone="appliance"), "zone"),
        (Wish(Q, until=NOW + dt.timedelta(days=3661)), "until"),
    ],
)
def test_what_makes_no_sense_is_refused(wish: Wish, field: str) -> None:
    with pytest.raises(Refused) as caught:
        change(State(), wish, Power.PERSON, "local:ada", NOW)
    assert (caught.value.reason, caught.value.field) == (Reason.INVALID_FIELD, field)


def test_a_monitor_quarantines_and_watches_and_nothing_else() -> None:
    found = monitor(State(), Q, until=NOW + HOUR)
    assert found is not None
    assert (found.standing, found.by) == (Q, "key:ids")
    for standing in (N, B, P):
        with pytest.raises(Refused) as caught:
            monitor(State(standing=Q), standing)
        assert caught.value.reason is StandingReason.NOT_PERMITTED


def test_a_monitor_cannot_lift_what_is_stricter() -> None:
    for standing in (Q, B):
        with pytest.raises(Refused) as caught:
            monitor(State(standing=standing), W)
        assert caught.value.reason is Reason.CONFLICT


@pytest.mark.parametrize("then", [B, P])
def test_a_monitor_does_not_say_later_what_it_may_not_say_now(then: Standing) -> None:
    with pytest.raises(Refused) as caught:
        monitor(State(), W, until=NOW + dt.timedelta(seconds=1), then=then)
    assert (caught.value.reason, caught.value.field) == (StandingReason.NOT_PERMITTED, "then")
    assert person(State(), W, until=NOW + dt.timedelta(seconds=1), then=then) is not None


@pytest.mark.parametrize("state", [State(), State(standing=P), State(approved=True), State(standing=Q, zone="lab")])
@pytest.mark.parametrize("standing", [W, Q])
def test_a_monitor_chooses_no_zone(state: State, standing: Standing) -> None:
    with pytest.raises(Refused) as caught:
        monitor(state, standing, zone="trusted")
    assert (caught.value.reason, caught.value.field) == (StandingReason.NOT_PERMITTED, "zone")
    found = person(state, standing, zone="trusted")
    assert found is not None
    assert found.zone == "trusted"


@pytest.mark.parametrize("power", [Power.MONITOR, Power.RULE])
def test_the_zone_that_a_person_chose_outlasts_what_machines_say(power: Power) -> None:
    guests = State(approved=True, zone="guests")
    watched = change(guests, Wish(W, "refused", NOW + HOUR), power, "machine", NOW)
    assert watched is not None
    assert watched.at(NOW) == (W, "guests")
    # The zone of guests is not the zone of a quarantine.
    isolated = change(watched, Wish(Q, "scans", NOW + HOUR / 2), power, "machine", NOW)
    assert isolated is not None
    assert isolated.at(NOW) == (Q, None)
    after = in_force(isolated, NOW + HOUR)
    assert (after.standing, after.zone, after.approved) == (N, "guests", True)


def test_a_block_by_a_rule_ends_without_more_access_than_before() -> None:
    """Policy follows the zone of approved devices alone."""
    guests = State(approved=True, zone="guests")
    blocked = change(guests, Wish(B, "cloned", NOW + HOUR), Power.RULE, "rule:cloned", NOW)
    assert blocked is not None
    assert blocked.at(NOW) == (B, None)
    after = in_force(blocked, NOW + HOUR)
    assert (after.standing, after.zone, after.approved) == (N, "guests", True)


def test_a_zone_that_a_person_chose_for_a_time_ends_with_it() -> None:
    """A watch by a machine does not extend an access that a person has limited."""
    limited = State(approved=True, zone="maintenance", until=NOW + HOUR, then=N)
    for end in (None, NOW + 5 * HOUR):
        found = monitor(limited, W, until=end)
        assert found is not None
        assert found.at(NOW + dt.timedelta(minutes=59)) == (W, "maintenance")
        assert found.at(NOW + HOUR) == (W, None)


def test_a_monitor_cannot_shorten_a_quarantine_nor_move_it_to_another_zone() -> None:
    for known in (State(standing=Q, zone="lab"), State(standing=Q, until=NOW + 5 * HOUR, then=W)):
        found = monitor(known, Q, until=NOW + HOUR, then=N)
        assert found is None, found
    longer = monitor(State(standing=Q, until=NOW + HOUR, then=W), Q, until=NOW + 2 * HOUR)
    assert longer is not None
    assert (longer.until, longer.then) == (NOW + 2 * HOUR, W)


def test_after_a_short_quarantine_comes_what_was_before() -> None:
    for before in (W, P):
        found = monitor(State(standing=before), Q, until=NOW + HOUR)
        assert found is not None
        assert in_force(found, NOW + 2 * HOUR).standing is before
    # A trial release, after which the device is quarantined again.
    trial = State(until=NOW + HOUR, then=Q)
    found = monitor(trial, Q, until=NOW + dt.timedelta(minutes=1))
    assert found is not None
    assert in_force(found, NOW + 2 * HOUR).standing is Q


def test_a_repetition_changes_nothing() -> None:
    first = monitor(State(), Q, until=NOW + HOUR)
    assert first is not None
    assert monitor(first, Q, until=NOW + HOUR) is None
    assert person(State(standing=B), B) is None


def test_a_blocked_device_is_not_approved_any_more() -> None:
    found = person(State(approved=True), B)
    assert found is not None
    assert not found.approved
    released = person(found, N)
    assert released is not None
    assert not released.approved


def test_an_approval_ends_waiting_and_no_quarantine() -> None:
    waiting = approve(State(standing=P), True, "", "local:ada", NOW)
    assert waiting is not None
    assert (waiting.standing, waiting.approved) == (N, True)
    isolated = approve(State(standing=Q, until=NOW + HOUR, then=W), True, "", "local:ada", NOW)
    assert isolated is not None
    assert (isolated.standing, isolated.approved, isolated.until, isolated.then) == (Q, True, NOW + HOUR, W)
    assert approve(isolated, True, "", "local:ada", NOW) is None
    withdrawn = approve(isolated, False, "", "local:ada", NOW)
    assert withdrawn is not None
    assert (withdrawn.standing, withdrawn.approved) == (Q, False)


@pytest.mark.parametrize(("then", "kept"), [(N, False), (W, True), (Q, True), (B, True)])
def test_an_approval_cancels_nothing_strict_that_was_announced(then: Standing, kept: bool) -> None:
    found = approve(State(standing=P, zone="hall", until=NOW + HOUR, then=then), True, "ok", "local:ada", NOW)
    assert found is not None
    assert (found.standing, found.zone, found.approved) == (N, None, True)
    assert (found.until, found.then) == ((NOW + HOUR, then) if kept else (None, N))


def test_time_is_over_at_its_end_and_not_before() -> None:
    state = State(standing=Q, approved=True, zone="quarantine", until=NOW + HOUR, then=W)
    assert expired(state, NOW + HOUR - dt.timedelta(microseconds=1)) is None
    after = expired(state, NOW + HOUR)
    assert after is not None
    assert (after.standing, after.approved, after.zone, after.until, after.then) == (W, True, None, None, N)


def test_the_strictest() -> None:
    assert stricter(N, Q, W) is Q
    assert [name for name, _ in sorted(SEVERITY.items(), key=lambda item: item[1])] == [N, W, P, Q, B]


standings = st.sampled_from(list(Standing))
hours = st.none() | st.integers(1, 40).map(lambda count: count * HOUR)
zones = st.sampled_from([None, "guests", "lab"])
# What a person can have said.
states = st.builds(
    lambda standing, approved, zone, end, then: State(
        standing,
        approved and standing is not B,
        zone if standing is not B else None,
        NOW + end if end else None,
        then if end else N,
    ),
    standings, st.booleans(), zones, hours, standings,
)  # fmt: skip
machines = st.sampled_from([Power.MONITOR, Power.RULE])
# When, after what was before; what, for how long, then what, in which zone; and by whom.
steps = st.tuples(st.integers(0, 20), standings, hours, st.none() | standings, zones, machines)
ACCESS = {N: "open", W: "open"}


def check_no_wider(before: tuple[Standing, str | None, bool], after: tuple[Standing, str | None, bool]) -> None:
    """Standing, zone and approval: none of them gives more access than before."""
    assert SEVERITY[after[0]] >= SEVERITY[before[0]]
    same = ACCESS.get(before[0], before[0]) == ACCESS.get(after[0], after[0])
    # A stricter access is that which the policy has for it.
    assert after[1] == (before[1] if same else None)
    # An approval is a condition for access, and for the zone that a person chose: machines leave it as it is.
    assert after[2] == before[2]


def told(state: State) -> Entry:
    """What a node knows of a state."""
    row = Change(
        seq=1, time=NOW, subject="device", name=CAMERA, standing=str(state.standing), approved=state.approved,
        zone=state.zone, until=state.until, then=str(state.then), then_zone=state.then_zone, removed=state.plain,
        reason="", by="", power="monitor",
    )  # fmt: skip
    return read_entry(change_feed.event(row))


@settings(max_examples=400)
@example(State(zone="lab", until=NOW + HOUR), [(0, W, None, None, None, Power.RULE)], False)
@given(states, st.lists(steps, max_size=6), st.booleans())
def test_no_machine_ever_makes_a_device_freer_now_or_later(state: State, asked: list[Any], stored: bool) -> None:
    """Whatever machines say in whatever order and at whatever time, and whether the service is there afterwards.

    At each half hour of the following days, the access is at most what it would have been without them.
    """
    found, now = state, NOW
    for wait, standing, length, then, zone, power in asked:
        now += wait * HOUR
        if stored:
            found = expired(found, now) or found
        wish = Wish(standing, "x", now + length if length else None, then if length else None, zone)
        if power is Power.RULE:
            # A rule of the policy has neither.
            wish = replace(wish, then=None, zone=None)
        with contextlib.suppress(Refused):
            found = change(found, wish, power, "machine", now) or found
    entry = told(found)
    for count in range(100):
        moment = now + count * HOUR / 2
        before, after = in_force(state, moment), in_force(found, moment)
        was = (before.standing, before.zone, before.approved)
        check_no_wider(was, (after.standing, after.zone, after.approved))
        seen = standing_now(entry, moment.timestamp()) or DeviceStanding()
        check_no_wider(was, (seen.standing, seen.zone, seen.approved))

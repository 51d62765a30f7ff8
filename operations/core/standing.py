"""The standing of a device, and who may change it how. Pure.

Three kinds of actor change a standing. A person may do everything. A monitor (an intrusion detection system, or the
like) and a rule may only make it stricter: what they say ends no quarantine, shortens none, and changes no zone that a
person has chosen.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from enum import StrEnum

from operations.core.reasons import StandingReason
from policy import Standing
from web_service.core import Reason, Refused

# The longest time that a change may last. Nodes take a later `until` for unreadable, and block the device.
MAX_SECONDS = 10 * 366 * 86400
SEVERITY = {
    Standing.NORMAL: 0,
    Standing.WATCHED: 1,
    Standing.PENDING: 2,
    Standing.QUARANTINED: 3,
    Standing.BLOCKED: 4,
}


class Subject(StrEnum):
    """What a standing is of: one device, or all devices of a maker, which a domain names."""

    DEVICE = "device"
    MAKER = "maker"


class Power(StrEnum):
    """Who changes a standing."""

    PERSON = "person"
    MONITOR = "monitor"
    RULE = "rule"


@dataclass(frozen=True)
class State:
    """What is said of a device.

    zone: overrides the zone that policy gives. until: from then on, `then` is the standing, and `then_zone` the zone;
    None: without end. A person chooses no `then_zone`: it is what the zone was before a machine's change.
    since: when it was last changed. released_at: when a person last made it normal.
    """

    standing: Standing = Standing.NORMAL
    approved: bool = False
    zone: str | None = None
    until: dt.datetime | None = None
    then: Standing = Standing.NORMAL
    then_zone: str | None = None
    reason: str = ""
    by: str = ""
    since: dt.datetime | None = None
    released_at: dt.datetime | None = None

    @property
    def plain(self) -> bool:
        """Whether it says nothing: a reader treats the device as if it had never heard of it."""
        return self.standing is Standing.NORMAL and not self.approved and self.zone is None and self.until is None

    def says_as(self, other: State) -> bool:
        """Whether readers would do the same for both."""
        return (self.standing, self.approved, self.zone, self.until, self.then, self.then_zone) == (
            other.standing,
            other.approved,
            other.zone,
            other.until,
            other.then,
            other.then_zone,
        )

    def at(self, moment: dt.datetime) -> tuple[Standing, str | None]:
        """The standing and the zone at a time, if nothing changes until then."""
        if self.until is not None and self.until <= moment:
            return self.then, self.then_zone
        return self.standing, self.zone


@dataclass(frozen=True)
class Wish:
    """A change that somebody asks for. until, then, zone: see `State`; then: None: normal."""

    standing: Standing
    reason: str = ""
    until: dt.datetime | None = None
    then: Standing | None = None
    zone: str | None = None


def stricter(*standings: Standing) -> Standing:
    """The strictest of the standings."""
    return max(standings, key=SEVERITY.__getitem__)


def expired(state: State, now: dt.datetime) -> State | None:
    """What follows a state whose time is over; None: it is still in force."""
    if state.until is None or state.until > now:
        return None
    return replace(
        state,
        standing=state.then,
        zone=state.then_zone,
        until=None,
        then=Standing.NORMAL,
        then_zone=None,
        reason=f"its time as {state.standing} was over",
        by="system:expiry",
        since=now,
    )


def in_force(state: State, now: dt.datetime) -> State:
    """What counts of a state now."""
    return expired(state, now) or state


def change(state: State, wish: Wish, power: Power, by: str, now: dt.datetime) -> State | None:
    """The state after a change; None: there is nothing to change. Raises Refused."""
    current = in_force(state, now)
    _check(wish, now)
    if power is Power.PERSON:
        changed = _by_person(current, wish)
    else:
        found = _by_machine(current, wish, power)
        if found is None:
            return None
        changed = found
    if changed.says_as(state):
        return None
    released = now if power is Power.PERSON and wish.standing is Standing.NORMAL else state.released_at
    return replace(changed, reason=wish.reason, by=by, since=now, released_at=released)


def _check(wish: Wish, now: dt.datetime) -> None:
    if wish.until is not None and wish.until <= now:
        found = wish.until.isoformat()
        raise Refused(Reason.INVALID_FIELD, f"found {found}, expected a time in the future", field="until")
    if wish.until is not None and wish.until > now + dt.timedelta(seconds=MAX_SECONDS):
        raise Refused(
            Reason.INVALID_FIELD,
            f"found {wish.until.isoformat()}, expected a time within ten years: leave it out for no end",
            field="until",
        )
    if wish.then is not None and wish.until is None:
        raise Refused(Reason.INVALID_FIELD, "found `then` without `until`: say when it begins", field="then")
    if wish.zone is not None and wish.standing is Standing.BLOCKED:
        raise Refused(Reason.INVALID_FIELD, "a blocked device is in no zone: leave the zone out", field="zone")


def _by_person(current: State, wish: Wish) -> State:
    if wish.standing is Standing.NORMAL:
        if not wish.reason.strip():
            raise Refused(Reason.INVALID_FIELD, "a release needs a reason: say what was checked", field="reason")
        if wish.until is not None and wish.then is None:
            raise Refused(
                Reason.INVALID_FIELD,
                "a release that ends needs `then`, such as quarantined: say what follows",
                field="then",
            )
    return State(
        standing=wish.standing,
        approved=current.approved and wish.standing is not Standing.BLOCKED,
        zone=wish.zone,
        until=wish.until,
        then=wish.then or Standing.NORMAL,
    )


def _by_machine(current: State, wish: Wish, power: Power) -> State | None:
    """As a monitor or a rule may have it: never less strict than it is, now or later."""
    if power is Power.MONITOR:
        _check_monitor(wish)
    if wish.standing is Standing.NORMAL:
        return None
    if SEVERITY[wish.standing] < SEVERITY[current.standing]:
        if power is Power.MONITOR:
            raise Refused(
                Reason.CONFLICT,
                f"the device is {current.standing}, which is stricter than {wish.standing}: only a person may lift it",
                field="standing",
            )
        return None
    asked = State(standing=wish.standing, until=wish.until, then=wish.then or Standing.NORMAL)
    # Even a block keeps the approval: policy follows the zone that a person chose for approved devices alone. Without
    # the approval, the device could have more access after the block than before.
    return replace(_covering(current, asked), approved=current.approved)


def _check_monitor(wish: Wish) -> None:
    """Raises Refused for what a monitor may not ask for."""
    checked = {"standing": wish.standing}
    if wish.then not in (None, Standing.NORMAL):
        checked["then"] = wish.then
    for field, standing in checked.items():
        if standing not in (Standing.WATCHED, Standing.QUARANTINED):
            raise Refused(
                StandingReason.NOT_PERMITTED,
                f"found {standing}, expected watched or quarantined: everything else needs the scope standing:write",
                field=field,
            )
    if wish.zone is not None:
        # Another zone than that of the policy, or of a person, could permit more.
        raise Refused(StandingReason.NOT_PERMITTED, "to choose a zone needs the scope standing:write", field="zone")


def _covering(current: State, asked: State) -> State:
    """The least strict state that is, at every time, at least as strict as both, and has no other zone than `current`.

    asked: what a machine wants, which has no zone.
    """
    candidates = []
    for end in {current.until, asked.until, None}:
        before = stricter(*(_strictest(state, None, end) for state in (current, asked)))
        after = stricter(*(_strictest(state, end, None) for state in (current, asked))) if end else Standing.NORMAL
        zones = _zones(current, before, None, end), _zones(current, after, end, None) if end else {None}
        if all(len(found) == 1 for found in zones):
            ((zone,), (then_zone,)) = zones
            until = end if (before, zone) != (after, then_zone) else None
            candidates.append(State(before, zone=zone, until=until, then=after, then_zone=then_zone))
    # As little as possible before the end, then as little as possible after it, then the earliest end.
    found = min(candidates, key=lambda state: (SEVERITY[state.standing], *_afterwards(state)))
    return replace(found, then=Standing.NORMAL, then_zone=None) if found.until is None else found


def _afterwards(state: State) -> tuple[int, float]:
    if state.until is None:
        return SEVERITY[state.standing], 0.0
    return SEVERITY[state.then], state.until.timestamp()


def _parts(state: State, start: dt.datetime | None, end: dt.datetime | None) -> list[tuple[Standing, str | None]]:
    """Standing and zone of a state from `start` on until `end`. start: None: now; end: None: without end."""
    parts = []
    if state.until is None or start is None or start < state.until:
        parts.append((state.standing, state.zone))
    if state.until is not None and (end is None or end > state.until):
        parts.append((state.then, state.then_zone))
    return parts


def _strictest(state: State, start: dt.datetime | None, end: dt.datetime | None) -> Standing:
    """The strictest standing of a state from `start` on until `end`."""
    return stricter(*(standing for standing, _ in _parts(state, start, end)))


def _zones(state: State, standing: Standing, start: dt.datetime | None, end: dt.datetime | None) -> set[str | None]:
    """The zones of a state from `start` on until `end`, once its standing there is `standing`.

    A zone belongs to its standing: the zone of a watched device could permit more than the policy's quarantine zone.
    """
    return {zone if same_access(own, standing) else None for own, zone in _parts(state, start, end)}


def same_access(one: Standing, other: Standing) -> bool:
    """Whether a chosen zone means the same for both. A watched device has the access of a normal one."""
    access = {Standing.WATCHED: Standing.NORMAL}
    return access.get(one, one) is access.get(other, other)


def approve(state: State, approved: bool, reason: str, by: str, now: dt.datetime) -> State | None:
    """The state once a person has approved a device or a maker, or has withdrawn that; None: nothing to change.

    An approval ends no quarantine, and none that is to come: a device that waits for one becomes normal, until what
    follows. Any other keeps its standing.
    """
    current = in_force(state, now)
    standing = Standing.NORMAL if approved and current.standing is Standing.PENDING else current.standing
    changed = replace(current, approved=approved, standing=standing)
    if standing is not current.standing:
        changed = replace(changed, zone=None)
        if changed.then is Standing.NORMAL:
            changed = replace(changed, until=None, then_zone=None)
    if changed.says_as(state):
        return None
    return replace(changed, reason=reason, by=by, since=now)

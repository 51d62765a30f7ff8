"""Standings: read, set, released, approved, and ended when their time is over."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from operations.core import standing as rules
from operations.core.approvals import Answer
from operations.core.names import parse_name
from operations.core.standing import Power, State, Subject, Wish
from operations.local import metrics
from operations.local.policy_file import PolicyFile
from operations.service import audit, questions
from operations.service.access import Principal, Scope
from operations.service.known_devices import ensure_known
from operations.service.schemas import (
    Approval,
    History,
    HistoryEntry,
    Release,
    StandingChange,
    StandingList,
    StandingResult,
    StandingView,
)
from operations.store import change_feed
from operations.store.models import Change, StandingEntry
from policy import Standing, domains_of

MAX_PAGE = 500
MAX_HISTORY = 200
# Standings that one round of `expire` ends.
MAX_EXPIRED = 500


def state_of(session: Session, subject: Subject, name: str) -> State:
    """What is stored of a subject, which may be over."""
    row = session.get(StandingEntry, (str(subject), name))
    return state_from(row) if row else State()


def states_of(session: Session, subject: Subject, names: list[str]) -> dict[str, State]:
    """What is stored of these subjects, by name; it may be over."""
    rows = select(StandingEntry).where(StandingEntry.subject == str(subject), StandingEntry.name.in_(names))
    return {row.name: state_from(row) for row in session.scalars(rows)}


def state_from(row: StandingEntry) -> State:
    """What a row says, which may be over."""
    return State(
        standing=Standing(row.standing),
        approved=row.approved,
        zone=row.zone,
        until=row.until,
        then=Standing(row.then),
        then_zone=row.then_zone,
        reason=row.reason,
        by=row.by,
        since=row.since,
        released_at=row.released_at,
    )


def in_force(state: State | None, now: dt.datetime) -> State:
    """What counts of a state now; None: nothing is stored."""
    return rules.in_force(state or State(), now)


def put(session: Session, subject: Subject, name: str, state: State, power: str) -> int:
    """Store a state, with a line of the history and an event of the feed; returns its number. The feed is locked."""
    assert state.since is not None
    seq = change_feed.next_seq(session)
    said = {
        "standing": str(state.standing),
        "approved": state.approved,
        "zone": state.zone,
        "until": state.until,
        "then": str(state.then),
        "then_zone": state.then_zone,
        "reason": state.reason[:400],
        "by": state.by[:120],
    }
    row = session.get(StandingEntry, (str(subject), name))
    if row is None:
        row = StandingEntry(subject=str(subject), name=name)
        session.add(row)
    for key, value in said.items():
        setattr(row, key, value)
    row.since, row.released_at = state.since, state.released_at
    session.add(
        Change(seq=seq, time=state.since, subject=str(subject), name=name, removed=state.plain, power=power, **said)
    )
    session.flush()
    metrics.CHANGES.labels(power).inc()
    return seq


def set_standing(
    session: Session, who: Principal, name: str, wanted: StandingChange, policy: PolicyFile, now: dt.datetime
) -> StandingResult:
    """Change a device's standing, as far as the caller may. A repetition changes nothing. Raises Refused."""
    who.require(Scope.STANDING_QUARANTINE)
    policy.check_zone(wanted.zone)
    wish = Wish(wanted.standing, wanted.reason, wanted.end(now), wanted.then, wanted.zone)
    return change(session, who, _known(session, name, now), wish, now)


def release(session: Session, who: Principal, name: str, wanted: Release, now: dt.datetime) -> StandingResult:
    """Make a device normal again. Raises Refused."""
    who.require(Scope.STANDING_WRITE)
    wish = Wish(Standing.NORMAL, wanted.reason, wanted.end(now), wanted.then)
    return change(session, who, parse_name(name), wish, now)


def _known(session: Session, name: str, now: dt.datetime) -> str:
    """The name in its form, of a device that is in the inventory from now on. Raises Refused."""
    name = parse_name(name)
    ensure_known(session, name, now)
    return name


def change(session: Session, who: Principal, name: str, wish: Wish, now: dt.datetime) -> StandingResult:
    """Change a device's standing, as far as the caller may. Raises Refused."""
    change_feed.lock(session)
    before = state_of(session, Subject.DEVICE, name)
    after = rules.change(before, wish, who.power, who.actor, now)
    if after is None:
        return _result(session, Subject.DEVICE, name, before, changed=False, now=now)
    put(session, Subject.DEVICE, name, after, str(who.power))
    if after.standing is Standing.BLOCKED:
        # Whether it may join is answered.
        questions.close(session, who, Subject.DEVICE, name, Answer.NO, now)
    audit.record(
        session,
        who,
        "standing.set",
        name,
        now,
        before=str(rules.in_force(before, now).standing),
        after=str(after.standing),
        until=after.until.isoformat() if after.until else None,
        then=str(after.then),
        zone=after.zone,
        reason=after.reason,
    )
    return _result(session, Subject.DEVICE, name, after, changed=True, now=now)


def apply_rule(session: Session, name: str, rule: str, wish: Wish, now: dt.datetime) -> State | None:
    """Change a device's standing as a rule wants it; None: it is that strict already. The feed is locked."""
    before = state_of(session, Subject.DEVICE, name)
    who = f"rule:{rule}"
    after = rules.change(before, wish, Power.RULE, who, now)
    if after is None:
        return None
    put(session, Subject.DEVICE, name, after, str(Power.RULE))
    audit.record(
        session,
        Principal(who, frozenset()),
        "standing.set",
        name,
        now,
        before=str(rules.in_force(before, now).standing),
        after=str(after.standing),
        reason=after.reason,
    )
    return after


def approve(
    session: Session, who: Principal, subject: Subject, name: str, wanted: Approval, now: dt.datetime
) -> StandingResult:
    """Approve a device or a maker, or withdraw that. Raises Refused."""
    who.require(Scope.APPROVAL_WRITE)
    name = _known(session, name, now) if subject is Subject.DEVICE else parse_name(name)
    change_feed.lock(session)
    state = set_approved(session, who, subject, name, wanted.approved, wanted.reason, now)
    if wanted.approved:
        questions.close(session, who, subject, name, Answer.YES if subject is Subject.DEVICE else Answer.ALWAYS, now)
    before = state_of(session, subject, name)
    return _result(session, subject, name, state or before, changed=state is not None, now=now)


def set_approved(
    session: Session, who: Principal, subject: Subject, name: str, approved: bool, reason: str, now: dt.datetime
) -> State | None:
    """Store an approval; None: nothing changed. The feed is locked, and the caller may do it."""
    after = rules.approve(state_of(session, subject, name), approved, reason, who.actor, now)
    if after is None:
        return None
    put(session, subject, name, after, "approval")
    audit.record(session, who, "approval.set", name, now, subject=str(subject), approved=approved, reason=reason)
    return after


def has_expired(session: Session, now: dt.datetime) -> bool:
    """Whether the time of a standing is over that is still stored."""
    return session.scalars(select(StandingEntry.name).where(StandingEntry.until <= now).limit(1)).first() is not None


def expire(session: Session, now: dt.datetime) -> int:
    """Store what follows standings whose time is over; returns how many there were."""
    change_feed.lock(session)
    due = select(StandingEntry).where(StandingEntry.until <= now).order_by(StandingEntry.until).limit(MAX_EXPIRED)
    count = 0
    for row in session.scalars(due).all():
        after = rules.expired(state_from(row), now)
        if after is not None:
            put(session, Subject(row.subject), row.name, after, "expiry")
            count += 1
    return count


def view_of(subject: Subject, name: str, state: State, now: dt.datetime) -> StandingView:
    """A state as it counts now."""
    state = rules.in_force(state, now)
    return StandingView(
        subject=str(subject),
        name=name,
        standing=str(state.standing),
        approved=state.approved,
        zone=state.zone,
        until=state.until,
        then=str(state.then),
        then_zone=state.then_zone,
        reason=state.reason or None,
        by=state.by or None,
        since=state.since,
    )


def _result(
    session: Session, subject: Subject, name: str, state: State, *, changed: bool, now: dt.datetime
) -> StandingResult:
    view = view_of(subject, name, state, now)
    return StandingResult(
        **view.model_dump(),
        changed=changed,
        seq=change_feed.last_seq(session),
        maker_approved=subject is Subject.DEVICE and maker_approved(session, name),
    )


def maker_approved(session: Session, name: str) -> bool:
    """Whether every device of this device's maker is approved."""
    makers = states_of(session, Subject.MAKER, list(domains_of(name)))
    return any(state.approved for state in makers.values())


def show(session: Session, who: Principal, subject: Subject, name: str, now: dt.datetime) -> StandingView:
    """The standing of a device or a maker. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    name = parse_name(name)
    return view_of(subject, name, state_of(session, subject, name), now)


def page(
    session: Session,
    who: Principal,
    subject: Subject,
    standing: Standing | None,
    after: str,
    limit: int,
    now: dt.datetime,
) -> StandingList:
    """The standings that are not plain normal, by name. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    entries = select(StandingEntry).where(StandingEntry.subject == str(subject), StandingEntry.name > after)
    if standing is not None:
        entries = entries.where(StandingEntry.standing == str(standing))
    else:
        entries = entries.where(or_(StandingEntry.standing != str(Standing.NORMAL), StandingEntry.approved))
    rows = session.scalars(entries.order_by(StandingEntry.name).limit(limit + 1)).all()
    views = [view_of(subject, row.name, state_from(row), now) for row in rows[:limit]]
    return StandingList(entries=views, next=views[-1].name if len(rows) > limit else None)


def history(session: Session, who: Principal, subject: Subject, name: str) -> History:
    """Every change of a device's standing, the latest first, up to MAX_HISTORY. Raises Refused."""
    who.require(Scope.DEVICE_READ)
    name = parse_name(name)
    changes = (
        select(Change)
        .where(Change.subject == str(subject), Change.name == name)
        .order_by(Change.seq.desc())
        .limit(MAX_HISTORY)
    )
    entries = [
        HistoryEntry(
            seq=row.seq,
            time=row.time,
            standing=row.standing,
            approved=row.approved,
            zone=row.zone,
            until=row.until,
            then=row.then,
            then_zone=row.then_zone,
            reason=row.reason,
            by=row.by,
        )
        for row in session.scalars(changes)
    ]
    return History(name=name, entries=entries)

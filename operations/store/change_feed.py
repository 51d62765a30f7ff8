"""The change feed: a numbered, resumable record of changes of standing.

The sequence number of a change comes from a row that its transaction keeps locked until it commits. Numbers therefore
become visible in order: a reader that has seen N cannot miss a change with a smaller number.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, or_, select, update
from sqlalchemy.orm import Session

from operations.store.models import ApiKey, Change, Counter, Origin, StandingEntry
from policy import Standing
from web_service.core import Reason, Refused
from web_service.store import Position

# Changes that one answer holds at most.
MAX_EVENTS = 1000
# Entries that are encoded at once.
SNAPSHOT_PART = 1000


@dataclass(frozen=True)
class Batch:
    """Changes after a number. next: the number to continue from. origin: that of the database."""

    changes: list[dict[str, Any]]
    next: int
    origin: str


def lock(session: Session) -> None:
    """Lock the feed: changes of standing are made one after the other."""
    session.execute(select(Counter.value).where(Counter.name == "feed").with_for_update())


def next_seq(session: Session) -> int:
    """The number of a new change, in the caller's transaction."""
    return int(
        session.execute(
            update(Counter).where(Counter.name == "feed").values(value=Counter.value + 1).returning(Counter.value)
        ).scalar_one()
    )


def _counter(session: Session, name: str) -> int:
    return int(session.execute(select(Counter.value).where(Counter.name == name)).scalar_one())


def last_seq(session: Session) -> int:
    """The number of the last change; 0: there is none."""
    return _counter(session, "feed")


def origin(session: Session) -> str:
    """What tells this database from others."""
    return session.execute(select(Origin.value)).scalar_one()


def renew_origin(session: Session) -> str:
    """Make followers take this for another database, which may have lost what it said; returns the new origin."""
    new = secrets.token_hex(16)
    session.execute(update(Origin).values(value=new))
    return new


def position(session: Session) -> Position:
    """The present position of the database."""
    row = session.execute(
        select(
            select(Counter.value).where(Counter.name == "feed").scalar_subquery(),
            select(func.coalesce(func.count(ApiKey.revoked_at), 0)).scalar_subquery(),
        )
    ).one()
    return Position(int(row[0]), int(row[1]))


def read_since(session: Session, since: int) -> Batch:
    """Changes numbered above `since`. Raises Refused if some were deleted, or if `since` is beyond the last change."""
    last, horizon = last_seq(session), _counter(session, "horizon")
    if since < horizon or since > last:
        # Beyond the last one: the database was restored from a backup that is older than what the follower has seen.
        known = f"changes up to {horizon} were deleted" if since < horizon else f"the last change is {last}"
        raise Refused(
            Reason.HISTORY_GONE, f"found since={since}, but {known}: start again from /v1/snapshot", field="since"
        )
    rows = session.scalars(select(Change).where(Change.seq > since).order_by(Change.seq).limit(MAX_EVENTS)).all()
    more = len(rows) == MAX_EVENTS
    return Batch([event(row) for row in rows], rows[-1].seq if more else last, origin(session))


def event(row: Change) -> dict[str, Any]:
    """A change as the feed tells of it."""
    return {
        "seq": row.seq,
        "type": "standing",
        "time": _text(row.time),
        "subject": row.subject,
        "name": row.name,
        "standing": row.standing,
        "approved": row.approved,
        "zone": row.zone,
        **_ending(row.until, row.then, row.then_zone),
        "removed": row.removed,
        "reason": row.reason,
        "by": row.by,
    }


def _ending(until: dt.datetime | None, then: str, then_zone: str | None) -> dict[str, Any]:
    """When what follows begins, as followers are told.

    They know no zone of what follows. If there is one, the present standing, which is the stricter one, has no end for
    them until the change that this service makes at that time.
    """
    if then_zone is not None:
        return {"until": None, "then": str(Standing.NORMAL)}
    return {"until": until.timestamp() if until is not None else None, "then": then}


def snapshot(session: Session) -> bytes:
    """Every entry that is not plain normal, and the number from which to follow the feed: a JSON document.

    It is encoded in parts: the JSON encoder does not let other threads run before it ends.
    """
    head = json.dumps({"origin": origin(session), "seq": last_seq(session), "standing": []})
    pieces = [head.removesuffix("]}").encode()]
    entries = (
        select(
            StandingEntry.subject,
            StandingEntry.name,
            StandingEntry.standing,
            StandingEntry.approved,
            StandingEntry.zone,
            StandingEntry.until,
            StandingEntry.then,
            StandingEntry.then_zone,
        )
        .where(
            or_(
                StandingEntry.standing != Standing.NORMAL,
                StandingEntry.approved,
                StandingEntry.zone.is_not(None),
                StandingEntry.until.is_not(None),
            )
        )
        .order_by(StandingEntry.subject, StandingEntry.name)
    )
    for rows in session.execute(entries.execution_options(yield_per=SNAPSHOT_PART)).partitions():
        if len(pieces) > 1:
            pieces.append(b", ")
        pieces.append(json.dumps([_entry(row) for row in rows])[1:-1].encode())
    return b"".join((*pieces, b"]}"))


def _entry(row: Row[*tuple[Any, ...]]) -> dict[str, Any]:
    return {
        "subject": row.subject,
        "name": row.name,
        "standing": row.standing,
        "approved": row.approved,
        "zone": row.zone,
        **_ending(row.until, row.then, row.then_zone),
        "removed": False,
    }


def forget(session: Session, now: dt.datetime, retention_days: float) -> None:
    """Move the horizon: followers cannot continue from before it. The history itself is kept."""
    old = now - dt.timedelta(days=retention_days)
    horizon = session.execute(select(func.max(Change.seq)).where(Change.time < old)).scalar()
    if horizon is not None:
        session.execute(update(Counter).where(Counter.name == "horizon", Counter.value < horizon).values(value=horizon))


def _text(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")

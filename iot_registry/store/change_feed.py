"""The change feed: a numbered, resumable record of the events that consumers may have to act on.

The sequence number of an event comes from a row that its transaction keeps locked until it commits. Numbers therefore
become visible in order: a reader that has seen N cannot miss an event with a smaller number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session, aliased

from iot_registry.store.models import ApiKey, Authority, AuthorityKind, Change, Counter, Device, Domain
from web_service.core import Reason, Refused
from web_service.store import Position

# Events that one answer holds at most.
MAX_EVENTS = 1000


class ChangeType(StrEnum):
    """The kind of an event. A device's event is written once the authoritative servers serve its effect."""

    DEVICE_ADDED = "device.added"
    DEVICE_CHANGED = "device.changed"
    DEVICE_REVOKED = "device.revoked"
    DEVICE_RESTORED = "device.restored"
    DEVICE_REHOMED = "device.rehomed"
    ANCHOR_ADDED = "anchor.added"
    ANCHOR_REMOVED = "anchor.removed"
    DOMAIN_ADDED = "domain.added"
    ROLLOVER = "rollover"


@dataclass(frozen=True)
class Batch:
    """Events after a number. next: the number to continue from. more: further events are there already."""

    changes: list[dict[str, Any]]
    next: int
    more: bool


def anchor_payload(authority: Authority) -> dict[str, str]:
    return {"fingerprint": authority.fingerprint, "aki": authority.aki, "pem": authority.pem}


def append(
    session: Session,
    kind: ChangeType,
    domain_id: int,
    now: dt.datetime,
    *,
    name: str | None = None,
    anchor: Authority | None = None,
) -> int:
    """Add an event in the caller's transaction; returns its sequence number."""
    seq = session.execute(
        update(Counter).where(Counter.name == "feed").values(value=Counter.value + 1).returning(Counter.value)
    ).scalar_one()
    if anchor is not None:
        subject = f"anchor:{anchor.fingerprint}"
    else:
        subject = f"name:{name}" if name else f"domain:{domain_id}:{kind}"
    session.add(
        Change(
            seq=seq,
            time=now,
            type=kind,
            domain_id=domain_id,
            subject=subject,
            name=name,
            anchor=anchor_payload(anchor) if anchor else None,
        )
    )
    return int(seq)


def append_names(session: Session, events: Sequence[tuple[ChangeType, int, str]], now: dt.datetime) -> None:
    """Add events of names (kind, row id of the domain, name) in the caller's transaction, numbered in their order."""
    if not events:
        return
    last = session.execute(
        update(Counter)
        .where(Counter.name == "feed")
        .values(value=Counter.value + len(events))
        .returning(Counter.value)
        .execution_options(synchronize_session=False)
    ).scalar_one()
    first = int(last) - len(events) + 1
    session.execute(
        insert(Change),
        [
            {
                "seq": seq,
                "time": now,
                "type": kind,
                "domain_id": domain_id,
                "subject": f"name:{name}",
                "name": name,
                "anchor": None,
            }
            for seq, (kind, domain_id, name) in enumerate(events, start=first)
        ],
    )


def lock(session: Session) -> None:
    """Lock the feed. A transaction that also locks devices must do this first, or it may deadlock with another."""
    session.execute(select(Counter.value).where(Counter.name == "feed").with_for_update())


def last_seq(session: Session) -> int:
    """The sequence number of the last event; 0: there is none."""
    return session.execute(select(Counter.value).where(Counter.name == "feed")).scalar_one()


def position(session: Session) -> Position:
    """The present position of the database. `served`: changes whenever domains or CAs do."""

    def number(what: Any) -> Any:
        return select(func.coalesce(what, 0)).scalar_subquery()

    row = session.execute(
        select(
            select(Counter.value).where(Counter.name == "feed").scalar_subquery(),
            number(func.count(ApiKey.revoked_at)),
            number(func.max(Domain.id)),
            number(func.max(Authority.id)),
            number(func.count(Authority.retired_at)),
        )
    ).one()
    seq, revoked, *served = (int(value) for value in row)
    return Position(seq, revoked, tuple(served))


def read_since(session: Session, since: int, domain_id: int | None = None) -> Batch:
    """Events numbered above `since`, of one domain or of all.

    Raises Refused if some of them were deleted, or if `since` is beyond the last event.
    """
    last = last_seq(session)
    horizon = session.execute(select(Counter.value).where(Counter.name == "horizon")).scalar_one()
    if since < horizon:
        raise Refused(
            Reason.HISTORY_GONE,
            f"found since={since}, but events up to {horizon} were deleted: start again from /v1/snapshot",
            field="since",
        )
    if since > last:
        # The registry was restored from a backup that is older than what the consumer has seen.
        raise Refused(
            Reason.HISTORY_GONE,
            f"found since={since}, but the last event is {last}: start again from /v1/snapshot",
            field="since",
        )
    statement = select(Change, Domain.name).join(Domain, Domain.id == Change.domain_id).where(Change.seq > since)
    if domain_id is not None:
        statement = statement.where(Change.domain_id == domain_id)
    rows = session.execute(statement.order_by(Change.seq).limit(MAX_EVENTS)).all()
    changes = [_payload(change, domain) for change, domain in rows]
    more = len(rows) == MAX_EVENTS
    return Batch(changes, changes[-1]["seq"] if more else last, more)


def _payload(change: Change, domain: str) -> dict[str, Any]:
    return {
        "seq": change.seq,
        "time": change.time.isoformat(),
        "type": change.type,
        "domain": domain,
        "name": change.name,
        "anchor": change.anchor,
    }


def snapshot(session: Session, domain_id: int | None = None) -> dict[str, Any]:
    """Published names and CAs in use, and the sequence number from which to follow the feed."""
    anchors = (
        select(Authority, Domain.name)
        .join(Domain, Domain.id == Authority.domain_id)
        .where(Authority.kind == AuthorityKind.ISSUING, Authority.retired_at.is_(None))
    )
    names = select(Device.name).where(Device.published != "").order_by(Device.name)
    if domain_id is not None:
        anchors = anchors.where(Authority.domain_id == domain_id)
        names = names.where(Device.domain_id == domain_id)
    return {
        "seq": last_seq(session),
        "anchors": [{"domain": domain, **anchor_payload(authority)} for authority, domain in session.execute(anchors)],
        "names": list(session.scalars(names)),
    }


def compact(session: Session, now: dt.datetime, retention_days: float, compact_after_days: float) -> int:
    """Delete superseded events after `compact_after_days`, and all events after `retention_days`. Returns the count.

    Deleting a superseded event loses nothing: on the later event of the same name a consumer looks at the DNS again,
    which is all that the earlier one would have made it do.
    """
    old = now - dt.timedelta(days=retention_days)
    horizon = session.execute(select(func.max(Change.seq)).where(Change.time < old)).scalar()
    deleted = 0
    if horizon is not None:
        deleted += session.execute(delete(Change).where(Change.seq <= horizon)).rowcount  # type: ignore[attr-defined]
        session.execute(update(Counter).where(Counter.name == "horizon").values(value=horizon))
    later = aliased(Change)
    superseded = (
        select(Change.seq)
        .where(Change.time < now - dt.timedelta(days=compact_after_days))
        .where(select(later.seq).where(later.subject == Change.subject, later.seq > Change.seq).exists())
    )
    seqs = list(session.scalars(superseded.limit(10_000)))
    for start in range(0, len(seqs), 500):
        session.execute(delete(Change).where(Change.seq.in_(seqs[start : start + 500])))
    return deleted + len(seqs)

"""The change feed: an ordered, resumable record of what consumers outside may have to act on.

A number is taken inside the transaction that writes the event, from a row that stays locked until it
commits. So
numbers appear in order: a reader that has seen N can never miss an event with a smaller number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session, aliased

from iot_registry.errors import Reason, Refused
from iot_registry.store.models import ApiKey, Authority, AuthorityKind, Change, Counter, Device, Domain

MAX_BATCH = 1000


class ChangeType(StrEnum):
    """What happened. A device's event is written once the authoritative DNS serves its effect."""

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
class Position:
    """Where the database stands, for those who wait for it to move.

    seq: the last change. revoked_keys: how many API keys are revoked. served: differs whenever domains or CAs do.
    """

    seq: int
    revoked_keys: int
    served: tuple[int, int, int]


@dataclass(frozen=True)
class Batch:
    """Changes after a number, and the number to ask after next. `more`: ask again at once."""

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
    """Add an event in the caller's transaction; returns its number."""
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
    """Add events of names (kind, domain's id, name) in the caller's transaction, numbered in their order."""
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
    """Take the feed's lock first, in a transaction that locks devices too: one order for all, so no
    deadlock."""
    session.execute(select(Counter.value).where(Counter.name == "feed").with_for_update())


def last_seq(session: Session) -> int:
    return session.execute(select(Counter.value).where(Counter.name == "feed")).scalar_one()


def position(session: Session) -> Position:
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
    return Position(seq, revoked, (served[0], served[1], served[2]))


def read_since(session: Session, since: int, domain_id: int | None = None) -> Batch:
    """Changes numbered above `since`, of one domain or of all. Raises Refused if they are forgotten or
    not yet made."""
    last = last_seq(session)
    horizon = session.execute(select(Counter.value).where(Counter.name == "horizon")).scalar_one()
    if since < horizon:
        raise Refused(
            Reason.HISTORY_GONE,
            f"changes up to {horizon} are forgotten, found since={since}; start again from /v1/snapshot",
            field="since",
        )
    if since > last:
        # A registry restored from a backup: the consumer knows more than it does.
        raise Refused(
            Reason.HISTORY_GONE,
            f"the last change is {last}, found since={since}; start again from /v1/snapshot",
            field="since",
        )
    statement = select(Change, Domain.name).join(Domain, Domain.id == Change.domain_id).where(Change.seq > since)
    if domain_id is not None:
        statement = statement.where(Change.domain_id == domain_id)
    rows = session.execute(statement.order_by(Change.seq).limit(MAX_BATCH)).all()
    changes = [_payload(change, domain) for change, domain in rows]
    more = len(rows) == MAX_BATCH
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
    """The present truth, and the number to follow it from: published names and live anchors."""
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
    """Forget what is superseded and old, and what is older than the retention. Returns how many were
    forgotten.

    A superseded event can go without telling anyone: a consumer that gets the later event of the same
    name looks at
    the DNS again, which is all the earlier one would have made it do.
    """
    old = now - dt.timedelta(days=retention_days)
    horizon = session.execute(select(func.max(Change.seq)).where(Change.time < old)).scalar()
    gone = 0
    if horizon is not None:
        gone += session.execute(delete(Change).where(Change.seq <= horizon)).rowcount  # type: ignore[attr-defined]
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
    return gone + len(seqs)

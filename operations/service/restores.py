"""A database that was restored from a backup: followers are told that it may have lost what they know.

A backup is older than what the followers have seen. They notice a number that is lower than their own. But if the
restored service makes changes before a follower asks, its numbers overtake those of the follower, and mean other
changes. A new origin tells them in every case.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from operations.local.position_file import FeedPosition, read_position, write_position
from operations.service import audit
from operations.service.access import Principal, Scope, local_principal
from operations.service.schemas import Restored
from operations.store import change_feed
from web_service.store import Database

log = structlog.get_logger("operations")


def renew_origin(session: Session, who: Principal, reason: str, now: dt.datetime) -> Restored:
    """Give the database another origin. Raises Refused."""
    who.require(Scope.ADMIN)
    change_feed.lock(session)
    before = change_feed.origin(session)
    after = change_feed.renew_origin(session)
    audit.record(session, who, "origin.renew", after, now, before=before, reason=reason)
    return Restored(origin=after, before=before, seq=change_feed.last_seq(session))


def went_back(known: FeedPosition | None, found: FeedPosition) -> bool:
    """Whether the database is an older one than it was. known: what is remembered; None: nothing."""
    return known is not None and known.origin == found.origin and known.seq > found.seq


def check_position(database: Database, folder: Path, now: dt.datetime) -> FeedPosition:
    """How far the feed is. A database that is older than the remembered position gets a new origin first."""
    found = _position(database)
    known = read_position(folder)
    if not went_back(known, found):
        return found
    assert known is not None
    reason = f"the last change was {known.seq}, and is {found.seq}: restored from a backup"
    with database.write() as session:
        restored = renew_origin(session, local_principal("restore"), reason, now)
    log.warning("database.restored", origin=restored.origin, before=restored.before, reason=reason)
    return _position(database)


def remember_position(database: Database, folder: Path, now: dt.datetime) -> None:
    """Check the position, and remember it. Raises OSError."""
    found = check_position(database, folder, now)
    if found != read_position(folder):
        write_position(folder, found)


def _position(database: Database) -> FeedPosition:
    with database.read() as session:
        return FeedPosition(change_feed.origin(session), change_feed.last_seq(session))

"""What is in force, as data: for the socket, and for `trust-sync status`. Only reads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dane_radius.core import AnchorRecord
from trust_sync import __version__
from trust_sync.config import Config
from trust_sync.feed import RegistryFeed
from trust_sync.guard import Guard
from trust_sync.state import PendingEnd, State
from trust_sync.store import AnchorStore

# The reply is one line of JSON for a terminal or a script; beyond this many entries, `anchor_count` has to do.
_MAX_ENTRIES = 1000


def describe(
    started: datetime,
    store: AnchorStore,
    state: State,
    feeds: Sequence[RegistryFeed],
    guard: Guard,
    config: Config,
    state_error: str | None,
) -> dict[str, Any]:
    """The reply to `status`. Ages and delays are seconds; None where there is no such moment."""
    now = time.time()
    names: dict[str, int] = {}
    for item in state.evidence.values():
        for fingerprint in item.fingerprints:
            names[fingerprint] = names.get(fingerprint, 0) + 1
    unbacked: dict[str, float] = {}
    for key, since in state.unbacked.items():
        fingerprint = key.partition(" ")[0]
        unbacked[fingerprint] = min(since, unbacked.get(fingerprint, since))
    records = list(store.records.values())
    return {
        "version": __version__,
        "started": started.isoformat(timespec="seconds"),
        "state_error": state_error,
        "anchors": [
            {
                **_anchor(record, now),
                "names": names.get(record.fingerprint, 0),
                "retires_in_seconds": _until(unbacked.get(record.fingerprint), now, config.discovery.retire_after),
            }
            for record in records[:_MAX_ENTRIES]
        ],
        "anchor_count": len(records),
        "registries": {feed.config.name: _registry(feed, now) for feed in feeds},
        "discovered": {
            name: {
                "fingerprints": item.fingerprints,
                "refresh_in_seconds": round(item.due - now),
                "last_success_seconds": _age(item.last_success, now),
                "failures": item.failures,
                "error": item.last_error,
            }
            for name, item in list(state.evidence.items())[:_MAX_ENTRIES]
        },
        "discovered_count": len(state.evidence),
        "sessions": {
            "watched_names": guard.watched,
            "error": guard.sessions_error,
            "pending": [_pending(end, guard, now) for end in list(state.pending.values())[:_MAX_ENTRIES]],
            "pending_count": len(state.pending),
        },
    }


def _anchor(record: AnchorRecord, now: float) -> dict[str, Any]:
    return {
        "fingerprint": record.fingerprint,
        "subject": record.subject,
        "domains": list(record.domains),
        "source": str(record.source),
        "age_seconds": round(max(0.0, now - record.fetched.timestamp())),
        "not_after": record.not_after.isoformat(timespec="seconds"),
    }


def _registry(feed: RegistryFeed, now: float) -> dict[str, Any]:
    position = feed.position
    return {
        "url": feed.config.url,
        "seq": position.seq,
        "last_success_seconds": _age(position.last_success, now),
        "comparison_in_seconds": _until(position.last_snapshot or None, now, feed.config.resync),
        "retry_in_seconds": _until(feed.next_attempt, now, 0.0),
        "failures": position.failures,
        "error": position.last_error,
    }


def _pending(end: PendingEnd, guard: Guard, now: float) -> dict[str, Any]:
    return {
        "name": end.session.name,
        "nas": end.session.nas,
        "station": end.session.station,
        "cause": str(end.cause),
        "since_seconds": round(now - end.noticed),
        "attempts": end.attempts,
        "reply": end.last_reply or "waits for its NAS",
        "retry_in_seconds": round(max(0.0, guard.due(end) - now)),
    }


def _age(moment: float, now: float) -> int | None:
    return round(max(0.0, now - moment)) if moment else None


def _until(moment: float | None, now: float, later: float) -> int | None:
    return None if moment is None else round(max(0.0, moment + later - now))

"""The reply to `status`, for the socket and for `trust-sync status`. It only reads."""

from __future__ import annotations

import time
from typing import Any

from dane_radius.core import AnchorRecord
from trust_sync import __version__
from trust_sync.discovery import DiscoveryState
from trust_sync.feeds import FollowedFeed
from trust_sync.sessions import PendingTermination, SessionService
from trust_sync.shared import FeedConfig
from trust_sync.worker.worker import Worker

# The most entries of each list. The reply is one line of JSON; the counts are always complete.
_MAX_ENTRIES = 1000


def describe(worker: Worker) -> dict[str, Any]:
    """Describe what is in force. Ages and delays are in seconds; None: there is no such time."""
    now = time.time()
    state = worker.state
    return {
        "version": __version__,
        "started": worker.started.isoformat(timespec="seconds"),
        "state_error": worker.state_error,
        "anchors": _anchors(worker, now),
        "anchor_count": len(worker.store.held),
        "registries": {feed.name: {"url": feed.config.url, **_feed(feed, feed.config, now)} for feed in worker.feeds},
        "operations": _operations(worker, now),
        "discovered": _discovered(state.discovery, now),
        "discovered_count": len(state.discovery.names),
        "sessions": {
            "watched_names": len(worker.sessions.watched_names),
            "error": worker.sessions.error,
            "pending": [
                _pending(item, worker.sessions, now) for item in list(state.sessions.pending.values())[:_MAX_ENTRIES]
            ],
            "pending_count": len(state.sessions.pending),
        },
    }


def _anchors(worker: Worker, now: float) -> list[dict[str, Any]]:
    discovered = worker.state.discovery
    retire_after = worker.config.discovery.retire_after
    names: dict[str, int] = {}
    for item in discovered.names.values():
        for fingerprint in item.fingerprints:
            names[fingerprint] = names.get(fingerprint, 0) + 1
    unbacked: dict[str, float] = {}
    for key, since in discovered.unbacked.items():
        fingerprint = key.partition(" ")[0]
        unbacked[fingerprint] = min(since, unbacked.get(fingerprint, since))
    return [
        {
            **_anchor(record, now),
            "names": names.get(record.fingerprint, 0),
            "retires_in_seconds": _until(unbacked.get(record.fingerprint), now, retire_after),
        }
        for record in list(worker.store.held)[:_MAX_ENTRIES]
    ]


def _anchor(record: AnchorRecord, now: float) -> dict[str, Any]:
    return {
        "fingerprint": record.fingerprint,
        "subject": record.subject,
        "domains": list(record.domains),
        "source": str(record.source),
        "age_seconds": round(max(0.0, now - record.fetched.timestamp())),
        "not_after": record.not_after.isoformat(timespec="seconds"),
    }


def _operations(worker: Worker, now: float) -> dict[str, Any] | None:
    feed = worker.standing
    if feed is None:
        return None
    journal = feed.journal
    standings = journal.standings
    return {
        "url": feed.config.url,
        "node": feed.config.node,
        **_feed(feed, feed.config, now),
        "journal": str(journal.path),
        "usable": journal.header is not None,
        "problem": journal.problem,
        "standing": {str(standing): count for standing, count in standings.counts.items()},
        "approved": standings.approved,
        "makers": standings.makers,
        "kept": standings.kept,
        "reports": dict(worker.reporter.errors) if worker.reporter is not None else None,
        "decisions_lost": worker.reporter.lost if worker.reporter is not None else 0,
        "waiting_for_accounting": worker.sessions.waiting_standings,
    }


def _feed(feed: FollowedFeed, config: FeedConfig, now: float) -> dict[str, Any]:
    position = feed.position
    return {
        "seq": position.seq,
        "last_success_seconds": _age(position.last_success, now),
        "comparison_in_seconds": _until(position.last_snapshot or None, now, config.resync),
        "retry_in_seconds": _until(feed.next_attempt, now, 0.0),
        "failures": position.failures,
        "error": position.last_error,
    }


def _discovered(state: DiscoveryState, now: float) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "fingerprints": item.fingerprints,
            "refresh_in_seconds": round(item.due - now),
            "last_success_seconds": _age(item.last_success, now),
            "failures": item.failures,
            "error": item.last_error,
        }
        for name, item in list(state.names.items())[:_MAX_ENTRIES]
    }


def _pending(item: PendingTermination, sessions: SessionService, now: float) -> dict[str, Any]:
    return {
        "name": item.session.name,
        "nas": item.session.nas,
        "station": item.session.station,
        "cause": str(item.cause),
        "since_seconds": round(now - item.noticed),
        "attempts": item.attempts,
        "reply": item.last_reply or "waits for its NAS",
        "retry_in_seconds": round(max(0.0, sessions.next_request(item) - now)),
    }


def _age(time_of: float, now: float) -> int | None:
    return round(max(0.0, now - time_of)) if time_of else None


def _until(begin: float | None, now: float, delay: float) -> int | None:
    return None if begin is None else round(max(0.0, begin + delay - now))

"""Decides whether the live sessions of a name may continue, from a DNS answer and a clock. Pure.

A session was admitted on a validated answer. Only another validated answer ends it: the proof that the records no
longer exist, or records of which none was seen during the session (the key was replaced). After an insecure, bogus or
unavailable answer, sessions continue, and the lookup is repeated. Meanwhile the module refuses new authentications,
and a session ends by its Session-Timeout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from dane_radius.core import Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable
from trust_sync.shared import Trigger, retry_delay

_RETRY_MIN_SECONDS = 2.0
_RETRY_MAX_SECONDS = 300.0
# Delays of lookups that should confirm what a registry reported.
_CONFIRM_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class TerminationCause(StrEnum):
    """Why sessions are ended."""

    ABSENT = "absent"
    REPLACED = "replaced"
    ROLLOVER = "rollover"
    POLICY = "policy"
    STANDING = "standing"


@dataclass(frozen=True, slots=True)
class WatchedName:
    """A name with live sessions. due: the next lookup, on the caller's clock.

    records: the TLSA records last seen, as text; None before the first secure answer. attempts: consecutive lookups
    without a secure answer or, after a revocation, without its confirmation.
    """

    name: str
    due: float
    records: frozenset[str] | None = None
    attempts: int = 0
    trigger: Trigger = Trigger.TTL


@dataclass(frozen=True, slots=True)
class Assessment:
    """The result of an answer. end: why the sessions end; None: they continue."""

    watch: WatchedName
    end: TerminationCause | None = None


def assess(watch: WatchedName, answer: Answer, now: float, recheck_min: float) -> Assessment:
    """Decide what a new answer means for the sessions of a name. Times are in seconds."""
    match answer:
        case Secure(records, ttl):
            return _secure(watch, frozenset(map(str, records)), ttl, now, recheck_min)
        case SecureAbsent(_, ttl):
            # The next lookup ends sessions that accounting shows later.
            return Assessment(WatchedName(watch.name, now + max(float(ttl), recheck_min)), TerminationCause.ABSENT)
        case Insecure() | Bogus() | Unavailable():
            attempts = watch.attempts + 1
            wait = retry_delay(attempts, _RETRY_MIN_SECONDS, _RETRY_MAX_SECONDS)
            if watch.trigger is not Trigger.TTL and attempts <= len(_CONFIRM_SECONDS):
                # A change was reported: a single failure of the resolver must not cost seconds.
                wait = _CONFIRM_SECONDS[attempts - 1]
            return Assessment(WatchedName(watch.name, now + wait, watch.records, attempts, watch.trigger))


def _secure(watch: WatchedName, found: frozenset[str], ttl: int, now: float, recheck_min: float) -> Assessment:
    due = now + max(float(ttl), recheck_min)
    settled = WatchedName(watch.name, due, found)
    if watch.records is not None and not watch.records & found:
        return Assessment(settled, TerminationCause.REPLACED)
    if watch.trigger is Trigger.ROLLOVER and watch.records is None:
        # The key of the session is unknown, and all keys were replaced.
        return Assessment(settled, TerminationCause.ROLLOVER)
    if watch.trigger is Trigger.REVOKED and watch.attempts < len(_CONFIRM_SECONDS):
        # The revocation was reported, but the DNS does not show it yet.
        soon = now + _CONFIRM_SECONDS[watch.attempts]
        return Assessment(WatchedName(watch.name, min(soon, due), found, watch.attempts + 1, watch.trigger))
    return Assessment(settled)


def watch_changes(watched: Iterable[str], live: Iterable[str]) -> tuple[set[str], set[str]]:
    """Compare watched names with those that have live sessions. Returns the names to begin and to stop watching."""
    before, after = set(watched), set(live)
    return after - before, before - after

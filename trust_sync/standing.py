"""Whether a name's live sessions may go on: decisions over DNS answers and a clock. Pure.

A session was admitted on a validated answer. What ends it is a validated answer that takes that back: a proof that
there are no records any more, or records that have none in common with those seen while it lived (a rolled key).
An outage takes nothing back: insecure, bogus and unavailable answers leave sessions alone and are asked again; the
module refuses new authentications meanwhile, and a session ends by its Session-Timeout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from dane_radius.core import Answer, Bogus, Insecure, Secure, SecureAbsent, Unavailable

_RETRY_MIN_SECONDS = 2.0
_RETRY_MAX_SECONDS = 300.0
_CONFIRM_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Cause(StrEnum):
    """Why sessions end."""

    ABSENT = "absent"
    REPLACED = "replaced"
    ROLLOVER = "rollover"
    POLICY = "policy"


class Trigger(StrEnum):
    """What made us look."""

    TTL = "ttl"
    FEED = "feed"
    REVOKED = "revoked"
    ROLLOVER = "rollover"


@dataclass(frozen=True, slots=True)
class Watch:
    """What is known of a name with live sessions. `due`: when to look again, on the caller's clock.

    records: the TLSA records last seen, as text; None before the first secure answer. attempts: looks in a row that
    gave no secure answer, or, after a revocation, that did not confirm it yet.
    """

    name: str
    due: float
    records: frozenset[str] | None = None
    attempts: int = 0
    trigger: Trigger = Trigger.TTL


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an answer means: the watch from now on, and why sessions end (None: they go on)."""

    watch: Watch
    end: Cause | None = None


def judge(watch: Watch, answer: Answer, now: float, recheck_min: float) -> Judgement:
    """What a fresh answer means for the sessions of a name. Times are seconds."""
    match answer:
        case Secure(records, ttl):
            return _secure(watch, frozenset(map(str, records)), ttl, now, recheck_min)
        case SecureAbsent(_, ttl):
            # Sessions that show up later nevertheless (a NAS without our word) are met by the next look.
            return Judgement(Watch(watch.name, now + max(float(ttl), recheck_min)), Cause.ABSENT)
        case Insecure() | Bogus() | Unavailable():
            attempts = watch.attempts + 1
            wait = retry_after(attempts, _RETRY_MIN_SECONDS, _RETRY_MAX_SECONDS)
            if watch.trigger is not Trigger.TTL and attempts <= len(_CONFIRM_SECONDS):
                # Somebody says that there is news: a resolver that stumbled once must not cost seconds.
                wait = _CONFIRM_SECONDS[attempts - 1]
            return Judgement(Watch(watch.name, now + wait, watch.records, attempts, watch.trigger))


def _secure(watch: Watch, found: frozenset[str], ttl: int, now: float, recheck_min: float) -> Judgement:
    due = now + max(float(ttl), recheck_min)
    settled = Watch(watch.name, due, found)
    if watch.records is not None and not watch.records & found:
        return Judgement(settled, Cause.REPLACED)
    if watch.trigger is Trigger.ROLLOVER and watch.records is None:
        # Nobody can say which key the session began with, and all of them were replaced.
        return Judgement(settled, Cause.ROLLOVER)
    if watch.trigger is Trigger.REVOKED and watch.attempts < len(_CONFIRM_SECONDS):
        # We were told that it is gone, and the DNS does not show it yet.
        soon = now + _CONFIRM_SECONDS[watch.attempts]
        return Judgement(Watch(watch.name, min(soon, due), found, watch.attempts + 1, watch.trigger))
    return Judgement(settled)


def retry_after(attempts: int, shortest: float, longest: float) -> float:
    """Seconds to wait after the `attempts`-th failure in a row: doubling, within bounds."""
    return min(longest, shortest * 2.0 ** min(max(attempts, 1) - 1, 30))


def watch_changes(watched: Iterable[str], live: Iterable[str]) -> tuple[set[str], set[str]]:
    """Names to begin watching and to stop watching, given those that have live sessions now."""
    before, after = set(watched), set(live)
    return after - before, before - after

"""Rules that change a standing by what the RADIUS nodes report. Pure.

What a refusal says of a name proves nothing: anyone can present a certificate that names a neighbor's device. Refusals
therefore lead to `watched` at most, whatever the policy file says. An admission proves the name: only the holder of the
device's key is admitted.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from operations.core.standing import SEVERITY, State, Wish
from policy import Standing, StandingRule


@dataclass(frozen=True)
class Seen:
    """What was seen of a device lately.

    stations: when each station (its MAC address) was last admitted. refusals: when the name was refused.
    """

    stations: Mapping[str, dt.datetime]
    refusals: Sequence[dt.datetime]


@dataclass(frozen=True)
class Verdict:
    """What a rule wants: the change, and the name of the rule."""

    rule: str
    wish: Wish


def judge(rules: Iterable[StandingRule], seen: Seen, state: State, now: dt.datetime) -> Verdict | None:
    """The strictest change that the rules want; None: none.

    What happened before a person released the device does not count again.
    """
    found: Verdict | None = None
    for rule in rules:
        verdict = _apply(rule, seen, state.released_at, now)
        if verdict and (found is None or SEVERITY[verdict.wish.standing] > SEVERITY[found.wish.standing]):
            found = verdict
    return found


def _apply(rule: StandingRule, seen: Seen, released_at: dt.datetime | None, now: dt.datetime) -> Verdict | None:
    start = now - dt.timedelta(seconds=rule.within)
    if released_at is not None and released_at > start:
        start = released_at
    until = now + dt.timedelta(seconds=rule.duration) if rule.duration is not None else None
    if rule.stations is not None:
        count = sum(1 for last in seen.stations.values() if last > start)
        if count <= rule.stations:
            return None
        reason = f"admitted from {count} stations within {_period(rule.within)}"
        return Verdict(rule.name, Wish(Standing(rule.standing), reason, until))
    if rule.refusals is None:
        return None
    count = sum(1 for moment in seen.refusals if moment > start)
    if count < rule.refusals:
        return None
    reason = f"refused {count} times within {_period(rule.within)}"
    return Verdict(rule.name, Wish(Standing.WATCHED, reason, until))


def _period(seconds: int) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"

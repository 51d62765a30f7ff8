"""Comparing the outcomes of logged decisions, and grouping what changes by device."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from dane_radius.replay.logged import LoggedDecision
from dane_radius.replay.outcome import Outcome, Replayer, Result, logged_outcome
from policy import Policy, Strength

# Groups of decisions in the report. A log of invented names must not fill the memory.
MAX_GROUPS = 500_000
_MAX_PLACES = 3


class Change(StrEnum):
    """lost, gained, changed: access. unknown: whether there is access. incomparable: both have access; which, is not
    known. reason: refused, for another reason."""

    LOST = "lost"
    GAINED = "gained"
    CHANGED = "changed"
    UNKNOWN = "unknown"
    INCOMPARABLE = "incomparable"
    REASON = "reason"
    SAME = "same"


# The changes that the report lists by device. The others are counted.
LISTED = (Change.LOST, Change.GAINED, Change.CHANGED, Change.UNKNOWN)


class Key(NamedTuple):
    """What the decisions of one group have in common. `old`, `new`: the outcomes in words."""

    change: Change
    device: str
    old: str
    new: str


@dataclass(slots=True)
class Group:
    """The decisions about one device with one change. Times are seconds since 1970."""

    count: int = 0
    first: float = 0.0
    last: float = 0.0
    places: dict[str, None] = field(default_factory=dict)

    def add(self, decision: LoggedDecision) -> None:
        self.first = decision.at if self.count == 0 else min(self.first, decision.at)
        self.last = max(self.last, decision.at)
        self.count += 1
        if len(self.places) < _MAX_PLACES:
            self.places[place_of(decision)] = None


class Replay:
    """Takes logged decisions one after the other."""

    def __init__(self, new: Policy, old: Policy | None = None) -> None:
        """`old`: the policy in force when the decisions were made. Without it, the log alone says what devices got."""
        self._new = Replayer(new)
        self._old = Replayer(old) if old is not None else None
        self._strengths: dict[str, Strength] = {rule.name: rule.require for rule in old.rules} if old else {}
        self.counts = dict.fromkeys(Change, 0)
        self.groups: dict[Key, Group] = {}
        self.ungrouped = 0
        # Decisions that the old policy would not have made: it was another one.
        self.contradictions = 0

    @property
    def decisions(self) -> int:
        return sum(self.counts.values())

    def add(self, decision: LoggedDecision) -> None:
        """Decide again, and note what changes."""
        strength = self._strengths.get(decision.rule) if decision.rule is not None else None
        then = logged_outcome(decision)
        old = self._before(decision, then, strength)
        new = self._new.outcome(decision, strength)
        change = compare(old, new)
        self.counts[change] += 1
        if change in LISTED:
            self._note(change, decision, old, new)

    def _before(self, decision: LoggedDecision, then: Outcome, strength: Strength | None) -> Outcome:
        """What the device got then. The old policy says what the log does not: the attributes."""
        if self._old is None:
            return then
        old = self._old.outcome(decision, strength)
        if old.result is Result.UNKNOWN:
            return then
        if (old.result, old.monitored) != (then.result, then.monitored) or old.rule != then.rule:
            self.contradictions += 1
            return then
        return old

    def _note(self, change: Change, decision: LoggedDecision, old: Outcome, new: Outcome) -> None:
        key = Key(change, decision.name or "(no name)", describe(old), describe(new))
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= MAX_GROUPS:
                self.ungrouped += 1
                return
            group = self.groups[key] = Group()
        group.add(decision)

    def listed(self, change: Change) -> list[tuple[Key, Group]]:
        """The groups of one change, the largest first."""
        found = [(key, group) for key, group in self.groups.items() if key.change is change]
        return sorted(found, key=lambda item: (-item[1].count, item[0].device, item[0].old, item[0].new))

    def to_json(self) -> dict[str, Any]:
        """The report, without the lines that could not be read."""
        return {
            "decisions": self.decisions,
            "counts": {change.value: count for change, count in self.counts.items()},
            "contradictions": self.contradictions,
            "ungrouped": self.ungrouped,
            **{
                change.value: [
                    {
                        "device": key.device,
                        "old": key.old,
                        "new": key.new,
                        "decisions": group.count,
                        "first": group.first,
                        "last": group.last,
                        "places": list(group.places),
                    }
                    for key, group in self.listed(change)
                ]
                for change in LISTED
            },
        }


def compare(old: Outcome, new: Outcome) -> Change:
    """What changes for the device."""
    if new.result is Result.UNKNOWN:
        return Change.UNKNOWN
    if old.result is not new.result:
        return Change.GAINED if new.result is Result.ACCESS else Change.LOST
    if new.result is Result.REFUSED:
        return Change.SAME if old.reason is new.reason else Change.REASON
    if old.grant is not None and new.grant is not None:
        return Change.SAME if old.grant == new.grant else Change.CHANGED
    if old.zone is not None and new.zone is not None:
        return Change.SAME if old.zone == new.zone else Change.CHANGED
    if old.grant is new.grant is None and old.monitored and new.monitored:
        # Monitored without a rule: no access but the name.
        return Change.SAME
    return Change.INCOMPARABLE


def describe(outcome: Outcome) -> str:
    """An outcome in words."""
    by = f", rule {outcome.rule}" if outcome.rule is not None else ""
    if outcome.result is Result.REFUSED:
        return f"refused: {outcome.reason.value}{by}"
    if outcome.result is Result.UNKNOWN:
        return f"not known: {outcome.why}{by}"
    where = f"zone {outcome.zone}" if outcome.zone is not None else "admitted"
    if outcome.zone is None and outcome.grant is not None and outcome.grant.vlan is not None:
        where = f"VLAN {outcome.grant.vlan}"
    monitored = f" (monitored: {outcome.reason.value})" if outcome.monitored else ""
    return f"{where}{monitored}{by}"


def place_of(decision: LoggedDecision) -> str:
    """Where the device was."""
    request = decision.request
    words = [
        f"SSID {request.ssid}" if request.ssid else "",
        f"NAS {request.nas_identifier or request.nas_address}" if request.nas_identifier or request.nas_address else "",
    ]
    return ", ".join(word for word in words if word) or "unknown"

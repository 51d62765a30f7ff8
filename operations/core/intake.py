"""What a batch of decisions means for each device that it tells of. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

from operations.core.decisions import Batch, Decision

# Decisions of one device that are kept, of each of the two kinds. Refusals are kept apart: a stranger's refusals must
# not push the device's own admissions out.
MAX_KEPT = 100
# Refusals of a name that nobody has proven to hold. Strangers can present many names.
MAX_KEPT_UNPROVEN = 20
# A rule can count this many refusals: those of a device that it counts are kept.
MAX_COUNTED = 1000
# Devices of one transaction.
MAX_PART = 100


@dataclass(frozen=True)
class Place:
    """Where a device was admitted: by which NAS, on which network, from which station."""

    station: str
    nas: str
    ssid: str


@dataclass
class DeviceNews:
    """What a batch says of one device. admissions, refusals: how many; last_*: the latest of each.

    kept: decisions to store, the latest at the end. waiting: the latest decision that needs an approval.
    """

    name: str
    admissions: int = 0
    refusals: int = 0
    last_admission: Decision | None = None
    last_refusal: Decision | None = None
    places: dict[Place, dt.datetime] = field(default_factory=dict)
    kept_admissions: list[Decision] = field(default_factory=list)
    kept_refusals: list[Decision] = field(default_factory=list)
    waiting: Decision | None = None

    def add(self, decision: Decision) -> None:
        if decision.proven:
            self.admissions += 1
            self.last_admission = _later(self.last_admission, decision)
            place = Place(decision.station or "", decision.nas or "", decision.ssid or "")
            self.places[place] = max(decision.at, self.places.get(place, decision.at))
            self.kept_admissions = [*self.kept_admissions[-MAX_KEPT + 1 :], decision]
        else:
            self.refusals += 1
            self.last_refusal = _later(self.last_refusal, decision)
            self.kept_refusals = [*self.kept_refusals[-MAX_COUNTED + 1 :], decision]
        # One that proves the name comes before others.
        if decision.waiting and (self.waiting is None or decision.proven >= self.waiting.proven):
            self.waiting = decision

    @property
    def first(self) -> dt.datetime:
        return min(decision.at for decision in (*self.kept_admissions, *self.kept_refusals))

    @property
    def last(self) -> dt.datetime:
        return max(decision.at for decision in (self.last_admission, self.last_refusal) if decision)


def refusals_kept(proven: bool, counted: int) -> int:
    """How many refusals of a name are kept. counted: what the rules count at most."""
    return max(MAX_KEPT, min(counted, MAX_COUNTED)) if proven else MAX_KEPT_UNPROVEN


def parts_of(batch: Batch) -> list[Batch]:
    """The batch in parts of at most MAX_PART devices, always the same for the same lines. There is at least one.

    Each part is a transaction of its own, so that a quarantine does not wait for a large batch.
    """
    names = sorted({decision.name for decision in batch.decisions})
    part = {name: index // MAX_PART for index, name in enumerate(names)}
    parts = [Batch() for _ in range(max(1, -(-len(names) // MAX_PART)))]
    for decision in batch.decisions:
        parts[part[decision.name]].decisions.append(decision)
    parts[0].skipped = batch.skipped
    return parts


def _later(known: Decision | None, new: Decision) -> Decision:
    return new if known is None or new.at >= known.at else known


def by_device(decisions: Iterable[Decision]) -> list[DeviceNews]:
    """The news by device, in the order of names: all processes lock devices in this order."""
    found: dict[str, DeviceNews] = {}
    for decision in decisions:
        found.setdefault(decision.name, DeviceNews(decision.name)).add(decision)
    return [found[name] for name in sorted(found)]

"""Time windows: when a rule counts. Times of day are those of a time zone; `now` is in seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_OF_DAY = 24 * 60

# A window that is closed opens within a week, and one that begins today ends tomorrow at the latest.
_DAYS_BACK, _DAYS_AHEAD = 2, 9


class Phase(NamedTuple):
    """Whether a window is open, from when, and until when. Seconds since 1970; None: without end."""

    is_open: bool
    begins: float
    ends: float | None


@dataclass(frozen=True)
class TimeWindow:
    """Certain days and times of day, between two times.

    days: 0 is Monday. begins, ends: minutes of the day, 0 to 1440. If `ends` is not after `begins`, the window ends on
    the next day, and `days` are those on which it begins. since, until: seconds since 1970; `until` is the first moment
    that is not part of the window.

    On the day of a change to or from summer time, a time of day that is skipped stands for the moment of the change,
    and one that comes twice for its first occurrence.
    """

    days: frozenset[int] = frozenset(range(7))
    begins: int = 0
    ends: int = MINUTES_OF_DAY
    timezone: tzinfo = UTC
    since: float | None = None
    until: float | None = None
    # The phase that was asked for last. Replaced as a whole, so that threads need no lock.
    _known: list[Phase] = field(default_factory=list, init=False, repr=False, compare=False)

    def phase(self, now: float) -> Phase:
        """The phase at `now`."""
        known = self._known
        if known:
            phase = known[0]
            if phase.begins <= now and (phase.ends is None or now < phase.ends):
                return phase
        phase = self._compute(now)
        self._known[:] = (phase,)
        return phase

    def _compute(self, now: float) -> Phase:
        if self.until is not None and now >= self.until:
            return Phase(False, self.until, None)
        if self.since is not None and now < self.since:
            return Phase(False, float("-inf"), self.since)
        daily = self._daily(now)
        begins = daily.begins if self.since is None else max(daily.begins, self.since)
        ends = daily.ends
        if self.until is not None:
            ends = self.until if ends is None else min(ends, self.until)
        return Phase(daily.is_open, begins, ends)

    def _daily(self, now: float) -> Phase:
        """The phase by days and times of day alone."""
        if len(self.days) == len(DAYS) and (self.begins, self.ends) == (0, MINUTES_OF_DAY):
            return Phase(True, float("-inf"), None)
        today = datetime.fromtimestamp(now, self.timezone).date()
        # A window that opened before the first day looked at is closed by then.
        closed_since = _moment(today - timedelta(days=_DAYS_BACK - 1), 0, self.timezone)
        for begins, ends in self._occurrences(today):
            if now < begins:
                return Phase(False, closed_since, begins)
            if now < ends:
                return Phase(True, begins, ends)
            closed_since = ends
        raise AssertionError("a window opens at least once a week")

    def _occurrences(self, today: date) -> list[tuple[float, float]]:
        """The times around `today` at which the window is open, in order; those that touch are one."""
        found: list[tuple[float, float]] = []
        for offset in range(-_DAYS_BACK, _DAYS_AHEAD):
            day = today + timedelta(days=offset)
            if day.weekday() not in self.days:
                continue
            begins = _moment(day, self.begins, self.timezone)
            ends = _moment(day if self.ends > self.begins else day + timedelta(days=1), self.ends, self.timezone)
            if found and begins <= found[-1][1]:
                found[-1] = found[-1][0], max(found[-1][1], ends)
            elif begins < ends:
                found.append((begins, ends))
        return found


def _moment(day: date, minutes: int, timezone: tzinfo) -> float:
    """The moment of a time of day, in seconds since 1970."""
    if minutes == MINUTES_OF_DAY:
        day, minutes = day + timedelta(days=1), 0
    local = datetime.combine(day, time(minutes // 60, minutes % 60), timezone)
    moment = local.timestamp()
    if datetime.fromtimestamp(moment, timezone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return moment
    # The time of day is skipped. With fold, PEP 495 computes it by the offset after the change, which is too early.
    early, late = int(local.replace(fold=1).timestamp()), int(moment)
    before = datetime.fromtimestamp(early, timezone).utcoffset()
    while late - early > 1:
        middle = (early + late) // 2
        if datetime.fromtimestamp(middle, timezone).utcoffset() == before:
            early = middle
        else:
            late = middle
    return float(late)


def moment_of(local: datetime, timezone: tzinfo) -> float:
    """A date and time of day in a time zone, in seconds since 1970. A time that comes twice is its first occurrence."""
    return _moment(local.date(), local.hour * 60 + local.minute, timezone) + local.second

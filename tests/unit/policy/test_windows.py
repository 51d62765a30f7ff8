"""Time windows: days, times of day across midnight, changes to and from summer time, and their exact ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy import TimeWindow
from policy.matching.windows import MINUTES_OF_DAY, moment_of

VIENNA = ZoneInfo("Europe/Vienna")
# A day of 23.5 or 24.5 hours, and a zone that once skipped a whole day (2011-12-30).
LORD_HOWE, APIA = ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Pacific/Apia")


def at(text: str, zone: ZoneInfo = VIENNA) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def hours(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


def window(begins: str, ends: str, days: str = "0123456", zone: ZoneInfo = VIENNA) -> TimeWindow:
    return TimeWindow(frozenset(map(int, days)), hours(begins), hours(ends), zone)


# 2026-11-30 is a Monday.
@pytest.mark.parametrize(
    ("made", "now", "is_open", "ends"),
    [
        (window("08:00", "18:00"), "2026-11-30 07:59:59", False, "2026-11-30 08:00"),
        (window("08:00", "18:00"), "2026-11-30 08:00", True, "2026-11-30 18:00"),
        (window("08:00", "18:00"), "2026-11-30 17:59:59", True, "2026-11-30 18:00"),
        (window("08:00", "18:00"), "2026-11-30 18:00", False, "2026-12-01 08:00"),
        # Working days: on Friday evening, it opens on Monday.
        (window("08:00", "18:00", "01234"), "2026-12-04 18:00", False, "2026-12-07 08:00"),
        (window("08:00", "18:00", "01234"), "2026-12-06 12:00", False, "2026-12-07 08:00"),
        # Across midnight: the night from Friday to Saturday is Friday's.
        (window("22:00", "06:00", "4"), "2026-12-04 21:59", False, "2026-12-04 22:00"),
        (window("22:00", "06:00", "4"), "2026-12-04 23:00", True, "2026-12-05 06:00"),
        (window("22:00", "06:00", "4"), "2026-12-05 05:59:59", True, "2026-12-05 06:00"),
        (window("22:00", "06:00", "4"), "2026-12-05 06:00", False, "2026-12-11 22:00"),
        (window("22:00", "06:00", "4"), "2026-12-05 23:00", False, "2026-12-11 22:00"),
        # Whole days that touch are one window.
        (window("00:00", "24:00", "01234"), "2026-12-02 12:00", True, "2026-12-05 00:00"),
        (window("00:00", "24:00", "56"), "2026-12-02 12:00", False, "2026-12-05 00:00"),
        (window("00:00", "24:00", "60"), "2026-12-07 23:59", True, "2026-12-08 00:00"),
        (window("22:00", "00:00"), "2026-12-07 23:59", True, "2026-12-08 00:00"),
        # Nights that touch: from noon to noon, every day.
        (window("12:00", "11:59"), "2026-12-07 11:59", False, "2026-12-07 12:00"),
    ],
)
def test_days_and_times(made: TimeWindow, now: str, is_open: bool, ends: str) -> None:
    phase = made.phase(at(now))
    assert (phase.is_open, phase.ends) == (is_open, at(ends))


def test_a_window_without_limits_never_changes() -> None:
    assert TimeWindow().phase(0.0) == TimeWindow().phase(5e9) == (True, float("-inf"), None)


def test_since_and_until() -> None:
    made = TimeWindow(timezone=VIENNA, since=at("2026-12-01"), until=at("2026-12-03"))
    assert made.phase(at("2026-12-01") - 1)[::2] == (False, at("2026-12-01"))
    assert made.phase(at("2026-12-01"))[::2] == (True, at("2026-12-03"))
    assert made.phase(at("2026-12-03") - 1)[::2] == (True, at("2026-12-03"))
    assert made.phase(at("2026-12-03"))[::2] == (False, None)
    # And within a window of the day.
    daily = TimeWindow(begins=hours("08:00"), ends=hours("18:00"), timezone=VIENNA, until=at("2026-12-03 12:00"))
    assert daily.phase(at("2026-12-03 11:00"))[::2] == (True, at("2026-12-03 12:00"))
    assert daily.phase(at("2026-12-03 13:00"))[::2] == (False, None)


@pytest.mark.parametrize(
    ("made", "moments"),
    [
        # Spring: 02:00 becomes 03:00 on 2027-03-28 (01:00 UTC).
        (window("01:00", "04:00"), [("2027-03-28 00:00", "2027-03-28 02:00")]),
        (window("02:30", "04:00"), [("2027-03-28 01:00", "2027-03-28 02:00")]),
        (window("01:00", "02:30"), [("2027-03-28 00:00", "2027-03-28 01:00")]),
        # The whole of it is skipped.
        (window("02:10", "02:50"),
         [("2027-03-27 01:10", "2027-03-27 01:50"), ("2027-03-29 00:10", "2027-03-29 00:50")]),
        # Autumn: 03:00 becomes 02:00 on 2026-10-25 (01:00 UTC). What comes twice is the first time.
        (window("01:00", "02:30"), [("2026-10-24 23:00", "2026-10-25 00:30")]),
        (window("02:30", "04:00"), [("2026-10-25 00:30", "2026-10-25 03:00")]),
        (window("01:00", "04:00"), [("2026-10-24 23:00", "2026-10-25 03:00")]),
        (window("22:00", "06:00"), [("2026-10-24 20:00", "2026-10-25 05:00")]),
        (window("22:00", "06:00"), [("2027-03-27 21:00", "2027-03-28 04:00")]),
        # Half an hour, on 2026-10-04 at 02:00 (15:30 UTC the day before).
        (window("02:15", "03:00", zone=LORD_HOWE), [("2026-10-03 15:30", "2026-10-03 16:00")]),
    ],
)  # fmt: skip
def test_changes_of_summer_time(made: TimeWindow, moments: list[tuple[str, str]]) -> None:
    for begins, ends in moments:
        assert made.phase(utc(begins) - 1)[::2] == (False, utc(begins))
        assert made.phase(utc(begins))[::2] == (True, utc(ends))
        assert made.phase(utc(ends) - 1)[::2] == (True, utc(ends))
        assert not made.phase(utc(ends)).is_open


def test_a_day_that_never_was() -> None:
    """In Samoa, Thursday 2011-12-29 was followed by Saturday: the Friday's window did not open."""
    made = window("08:00", "18:00", "4", APIA)
    phase = made.phase(at("2011-12-29 12:00", APIA))
    assert not phase.is_open
    assert phase.ends is not None
    assert datetime.fromtimestamp(phase.ends, APIA).date().isoformat() in ("2011-12-31", "2012-01-06")


WINDOWS = st.builds(
    TimeWindow,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, MINUTES_OF_DAY - 1),
    st.integers(0, MINUTES_OF_DAY),
    st.sampled_from([UTC, VIENNA, LORD_HOWE, APIA, ZoneInfo("America/St_Johns")]),
    st.none() | st.floats(1.77e9, 1.83e9),
    st.none() | st.floats(1.77e9, 1.83e9),
).filter(lambda made: made.begins != made.ends)


@given(WINDOWS, st.lists(st.floats(1.76e9, 1.84e9), min_size=1, max_size=6))
@settings(deadline=None)
def test_a_phase_holds_from_its_beginning_to_its_end(made: TimeWindow, times: list[float]) -> None:
    """What is asked in whatever order: the memory of the last phase never changes an answer."""
    for now in times:
        phase = made.phase(now)
        fresh = TimeWindow(made.days, made.begins, made.ends, made.timezone, made.since, made.until)
        assert phase[::2] == fresh.phase(now)[::2]
        assert phase.begins <= now
        if phase.ends is not None:
            assert now < phase.ends
            later = fresh.phase(now + (phase.ends - now) * 0.5)
            assert later[::2] == phase[::2]
            # At the two outer limits, it may go on as it is.
            if phase.ends not in (made.since, made.until):
                assert fresh.phase(phase.ends).is_open is not phase.is_open


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)))
def test_a_local_time_as_a_moment(local: datetime) -> None:
    """Outside of the hour that a change skips, a moment shows the local time again."""
    local = local.replace(second=0, microsecond=0)
    shown = datetime.fromtimestamp(moment_of(local, VIENNA), VIENNA).replace(tzinfo=None)
    assert shown == local or timedelta(0) < shown - local <= timedelta(hours=1)

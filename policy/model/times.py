"""Times, dates and time zones of a policy file."""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from policy.model.fields import FullModel

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\Z|24:00\Z")
_LOCAL_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?\Z")
# Beyond these years, a time is a mistake, and arithmetic with it may overflow.
_FIRST_YEAR, _LAST_YEAR = 1971, 2500


def _time_of_day(value: Any) -> Any:
    if not isinstance(value, str) or not (match := _TIME_OF_DAY.match(value)):
        raise ValueError('a time of day from "00:00" to "24:00" is expected')
    return 24 * 60 if match[1] is None else int(match[1]) * 60 + int(match[2])


def _local_time(value: Any) -> Any:
    text = value.isoformat() if isinstance(value, date) else value
    if isinstance(text, str) and _LOCAL_TIME.match(text):
        try:
            found = datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"a date or a time is expected ({error})") from error
        if _FIRST_YEAR <= found.year <= _LAST_YEAR:
            return found
    raise ValueError("a date (2027-01-31) or a date and a time (2027-01-31 18:00) is expected")


@lru_cache(maxsize=64)
def _timezone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        if not available_timezones():
            raise ValueError(
                "this system has no time zone database; install the package tzdata, or use UTC times only"
            ) from error
        raise ValueError("a time zone of the IANA database (for example Europe/Vienna) is expected") from error


def _timezone_name(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("a time zone of the IANA database (for example Europe/Vienna) is expected")
    if value != "UTC":
        _timezone(value)
    return value


TimeOfDay = Annotated[
    int,
    BeforeValidator(_time_of_day),
    WithJsonSchema({"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"}),
]
LocalTime = Annotated[
    datetime,
    BeforeValidator(_local_time),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?$"}),
]
Timezone = Annotated[str, BeforeValidator(_timezone_name)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class WhenModel(FullModel):
    """A time window. `from` and `to` are times of day; a window that ends before it begins ends on the next day."""

    days: list[Day] | None = Field(default=None, min_length=1)
    from_: TimeOfDay | None = Field(default=None, alias="from")
    to: TimeOfDay | None = None
    timezone: Timezone | None = None
    since: LocalTime | None = None
    until: LocalTime | None = None

    @model_validator(mode="after")
    def _is_a_window(self) -> WhenModel:
        if not self.model_fields_set - {"timezone"}:
            raise ValueError("at least one of days, from, to, since, until is expected")
        if (self.from_ or 0) == (24 * 60 if self.to is None else self.to):
            raise ValueError("from and to are the same; without both, the window is the whole day")
        if self.from_ == 24 * 60:
            raise ValueError('from: "24:00" found; "00:00" of the next day is expected')
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since is not before until")
        return self

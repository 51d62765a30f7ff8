"""The kinds of fields that request bodies have."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import AfterValidator, Field

from policy import Standing


def check_plain(text: str) -> str:
    """The text, if it can be stored and shown. Raises ValueError."""
    # PostgreSQL cannot store NUL, and a client must not send control characters to an administrator's terminal.
    if not text.isprintable():
        raise ValueError("expected printable characters only")
    return text


def _check_zone_of_time(moment: dt.datetime) -> dt.datetime:
    if moment.tzinfo is None:
        raise ValueError("found no time zone, expected RFC 3339, such as 2030-01-01T00:00:00Z")
    return moment.astimezone(dt.UTC)


Text = Annotated[str, Field(max_length=400), AfterValidator(check_plain)]
Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(check_plain)]
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Time = Annotated[dt.datetime, Field(strict=False), AfterValidator(_check_zone_of_time)]
StandingName = Annotated[Standing, Field(strict=False)]
ZoneName = Annotated[str, Field(min_length=1, max_length=63), AfterValidator(check_plain)]

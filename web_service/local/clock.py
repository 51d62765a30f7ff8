"""The wall clock."""

from __future__ import annotations

import datetime as dt


def utc_now() -> dt.datetime:
    """The present time, aware, in UTC."""
    return dt.datetime.now(dt.UTC)

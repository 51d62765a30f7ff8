"""The position of a database: what tells a waiting reader that something has changed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """What a waiting reader compares to find out whether the database has changed.

    seq: number of the last event. revoked_keys: count of revoked API keys. served: changes whenever the
    server must load something again.
    """

    seq: int
    revoked_keys: int
    served: tuple[int, ...] = ()

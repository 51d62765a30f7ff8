"""What is remembered of a feed over a restart. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FeedPosition:
    """The position in a feed. Times are seconds since 1970; 0: never.

    seq: the last change that was processed, None if a snapshot is due. failures: consecutive failures.
    """

    seq: int | None = None
    last_success: float = 0.0
    last_snapshot: float = 0.0
    failures: int = 0
    last_error: str | None = None

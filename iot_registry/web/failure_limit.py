"""Rate limit for failed attempts, per key and minute, in the memory of this process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from web_service.core import Reason, Refused

WINDOW_SECONDS = 60.0
# Keys that are remembered at most. The one whose last failure is the oldest is dropped first.
MAX_KEYS = 10_000


class FailureLimit:
    """Allows `failures` failed attempts per key within a minute.

    Use it for failed attempts only: otherwise, the failures of one client could lock another one out.
    """

    def __init__(self, failures: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = failures
        self._clock = clock
        self._recent: OrderedDict[str, list[float]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises Refused, with the seconds to wait, if `key` has failed too often."""
        recent = self._within_window(key)
        if len(recent) >= self._failures:
            wait = max(1, int(recent[0] + WINDOW_SECONDS - self._clock() + 1))
            raise Refused(Reason.RATE_LIMITED, f"too many failed attempts: try again in {wait} s", retry_after=wait)

    def add_failure(self, key: str) -> None:
        """Count a failed attempt."""
        recent = self._within_window(key)
        recent.append(self._clock())
        self._recent[key] = recent[-self._failures :]
        self._recent.move_to_end(key)
        while len(self._recent) > MAX_KEYS:
            self._recent.popitem(last=False)

    def _within_window(self, key: str) -> list[float]:
        start = self._clock() - WINDOW_SECONDS
        return [moment for moment in self._recent.get(key, ()) if moment > start]

"""Fair use of the event loop by a task that has much to compute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_SLICE_SECONDS = 0.003


class TimeSlice:
    """Limits a task to half of the processor time: after some milliseconds of work, `rest` sleeps for as long.

    A plain `sleep(0)` would give every other task a single step, and almost no time to other threads, which need the
    interpreter lock. The time between `pause` and `resume` does not count as work.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._began, self._worked = clock, clock(), 0.0

    async def rest(self) -> None:
        """Sleep if the slice is used up. Costs little otherwise."""
        worked = self._worked + self._clock() - self._began
        if worked < _SLICE_SECONDS:
            return
        await asyncio.sleep(worked)
        self._worked = 0.0
        self._began = self._clock()

    def pause(self) -> None:
        """Stop counting: the task is about to wait."""
        self._worked += self._clock() - self._began

    def resume(self) -> None:
        """Count again: the wait is over."""
        self._began = self._clock()

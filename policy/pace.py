"""Loading without disturbing the threads that authenticate.

Only one thread of a process runs Python code at a time. A thread that loads a large file therefore stops often, and the
garbage collector, which stops all threads while it walks over every object, does not run meanwhile.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds of work between two rests. A thread that waits for its turn waits about as long.
_WORK_SECONDS = 0.0003
# A rest is as many times as long as the work before it. On a busy machine, the system may suspend this thread while it
# works, and all other threads wait with it. The rest after that is longer, too.
_REST_FACTOR = 3.0
_MAX_REST_SECONDS = 0.1
# From this size of the files on, in octets, the garbage collector is kept out.
LARGE_OCTETS = 500_000


class Pace:
    """Divides work into short pieces. Called as often as possible; most calls return at once."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._began = clock()

    def __call__(self) -> None:
        worked = self._clock() - self._began
        if worked >= _WORK_SECONDS:
            self._sleep(min(worked * _REST_FACTOR, _MAX_REST_SECONDS))
            self._began = self._clock()


@contextmanager
def without_collector() -> Iterator[None]:
    """Keep the garbage collector from running, and from ever walking over what was made meanwhile.

    What exists at the end is exempt for good; without references, it is still freed. A collector that is off stays off.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()

"""What keeps one peer's work from delaying everybody else's in the same event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_SLICE_SECONDS = 0.003


class Pace:
    """Lets others run: after some milliseconds of work, a task that asks for `rest` sleeps as long as it worked.

    A plain `sleep(0)` would give each of the others one turn only, and the threads, which need the interpreter's lock
    as well, next to nothing. What is waited for between `pause` and `begin` is not work.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._began, self._worked = clock, clock(), 0.0

    async def rest(self) -> None:
        """Sleep, if it is time to. Cheap otherwise."""
        worked = self._worked + self._clock() - self._began
        if worked < _SLICE_SECONDS:
            return
        await asyncio.sleep(worked)
        self._worked = 0.0
        self._began = self._clock()

    def pause(self) -> None:
        """Waiting begins."""
        self._worked += self._clock() - self._began

    def begin(self) -> None:
        """Waiting is over, work goes on."""
        self._began = self._clock()


class Budget:
    """Octets that several peers may hold in memory together. One within its equal share is never refused.

    So all of them together hold less than twice `total`.
    """

    def __init__(self, total: int, peers: int) -> None:
        self._total, self._share = total, total // max(1, peers)
        self._held: dict[str, int] = {}

    def hold(self, peer: str, octets: int) -> bool:
        """Say that `peer` holds so many octets now. False: it may not, and then nothing is changed."""
        others = sum(held for name, held in self._held.items() if name != peer)
        if octets > self._share and others + octets > self._total:
            return False
        self._held[peer] = octets
        return True

    def release(self, peer: str) -> None:
        self._held.pop(peer, None)

"""A task with much work leaves half of the time to others."""

from __future__ import annotations

import asyncio

from trust_sync.shared import TimeSlice


async def test_work_is_broken_off_for_as_long_as_it_lasted_and_waiting_is_no_work() -> None:
    now = [0.0]
    pace = TimeSlice(lambda: now[0])
    loop = asyncio.get_running_loop()

    async def slept(work: float) -> float:
        began = loop.time()
        now[0] += work
        await pace.rest()
        return loop.time() - began

    assert await slept(0.001) < 0.05
    assert await slept(0.2) >= 0.2
    pace.pause()
    now[0] += 60
    pace.resume()
    async with asyncio.timeout(10):
        await slept(0.01)

"""A scripted resolver and a manual clock, for tests of the code that uses them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from dane_radius.core.answers import Answer, Unavailable
from dane_radius.dns.resolver import Client
from tests.unit.dane_radius.test_cache import GOOD

WAIT = 10.0  # the most that a thread may take; only a failing test waits so long


class Script:
    """Gives each lookup `answer`, but holds it back while `gate` is closed. `entered` counts the lookups."""

    def __init__(self, answer: Answer | Callable[[str], Answer] = GOOD) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.closed = False
        self.broken = False
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> Client:
        return self

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def ask(self, name: str, done: Callable[[Answer], None]) -> None:
        if self.broken:
            raise RuntimeError(f"no {name}")
        self.asked.append(name)
        self._loop.call_soon_threadsafe(self._begin, name, done)

    def _begin(self, name: str, done: Callable[[Answer], None]) -> None:
        answer = self.answer
        self.entered.release()
        task = asyncio.ensure_future(self._finish(name, answer, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(
        self, name: str, answer: Answer | Callable[[str], Answer], done: Callable[[Answer], None]
    ) -> None:
        said: Answer = Unavailable("the lookup was ended")
        try:
            await asyncio.to_thread(self.gate.wait, WAIT)
            said = answer(name) if callable(answer) else answer
        finally:
            done(said)

    async def lookup(self, name: str) -> Answer:  # type: ignore[override]  # a client and a resolver in one
        raise AssertionError("the engine asks")

    async def close(self) -> None:
        self.closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds, which other threads bring about."""
    pause = threading.Event()
    for _ in range(int(WAIT / 0.002)):
        if condition():
            return
        pause.wait(0.002)
    raise AssertionError("the state was not reached")


class Clock:
    """A clock that stands still until the test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

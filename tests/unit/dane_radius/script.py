"""A resolver for tests of what is around it: it says what it is told to say, when it is told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from dane_radius.answers import Answer
from dane_radius.dns.resolver import Client
from tests.unit.dane_radius.test_cache import GOOD

WAIT = 10.0  # how long a thread may take to get somewhere; only ever used up by a failing test


class Script:
    """`gate`, when closed, holds every lookup back; `entered` counts those that have begun."""

    def __init__(self, answer: Answer | Callable[[str], Answer] = GOOD) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.closed = False

    def open(self) -> Client:
        return self

    async def lookup(self, name: str) -> Answer:  # type: ignore[override]  # a client and a resolver in one
        self.asked.append(name)
        answer = self.answer
        self.entered.release()
        await asyncio.to_thread(self.gate.wait, WAIT)
        return answer(name) if callable(answer) else answer

    async def close(self) -> None:
        self.closed = True


def until(condition: Callable[[], object]) -> None:
    """Wait for a state that other threads bring about."""
    pause = threading.Event()
    for _ in range(int(WAIT / 0.002)):
        if condition():
            return
        pause.wait(0.002)
    raise AssertionError("the state was not reached")


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

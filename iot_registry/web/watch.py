"""Waking long polls, streams and enrollments when the database moves, whichever process moved it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger("iot_registry.web")

POLL_SECONDS = 0.2


class ChangeWatch:
    """One task that looks at the feed's number for all who wait; `poke` (from any thread) makes it look
    now."""

    def __init__(self, read_seq: Callable[[], int]) -> None:
        self._read_seq = read_seq
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look = asyncio.Event()
        self._moved: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.seq = 0
        self.on_move: list[Callable[[], Awaitable[None]]] = []

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._moved = self._loop.create_future()
        self.seq = await asyncio.to_thread(self._read_seq)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._wake_all()

    def poke(self) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._look.set)

    def ticket(self) -> asyncio.Future[None]:
        """Take one before looking at the database, and `wait` for it after: nothing in between is missed."""
        assert self._moved is not None
        return self._moved

    @staticmethod
    async def wait(ticket: asyncio.Future[None], seconds: float) -> bool:
        """Wait until the feed has moved since the ticket was taken, at most `seconds`; returns whether it
        did.
        """
        done, _ = await asyncio.wait({ticket}, timeout=seconds)
        return bool(done)

    def _wake_all(self) -> None:
        if self._loop and self._moved and not self._moved.done():
            self._moved.set_result(None)
            self._moved = self._loop.create_future()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), POLL_SECONDS)
            self._look.clear()
            try:
                seq = await asyncio.to_thread(self._read_seq)
                if seq != self.seq:
                    self.seq = seq
                    for callback in self.on_move:
                        await callback()
                    self._wake_all()
            except Exception:
                # The database is away: keep looking, its readers get errors of their own.
                log.exception("watch.failed")
                await asyncio.sleep(1.0)

"""Noticing that the database has changed, whichever process changed it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from web_service.store import Position

log = structlog.get_logger("web_service")

POLL_SECONDS = 0.2
# Pause after the database could not be read.
RETRY_SECONDS = 1.0


class ChangeTicket:
    """Waits for the changes since a moment. See `ChangeWatch.ticket`."""

    def __init__(self, changed: asyncio.Future[None]) -> None:
        self._changed = changed

    async def wait(self, seconds: float) -> bool:
        """Wait for a change, at most `seconds`; returns whether there was one."""
        done, _ = await asyncio.wait({self._changed}, timeout=seconds)
        return bool(done)


class ChangeWatch:
    """One task that reads the database's position for all who wait. An asynchronous context manager.

    on_served: called when `served` of the position has changed.
    """

    def __init__(self, read_position: Callable[[], Position], poll_seconds: float = POLL_SECONDS) -> None:
        self._read_position = read_position
        self._poll_seconds = poll_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check = asyncio.Event()
        self._changed: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._position: Position | None = None
        self.on_served: list[Callable[[], Awaitable[None]]] = []

    async def __aenter__(self) -> ChangeWatch:
        self._loop = asyncio.get_running_loop()
        self._changed = self._loop.create_future()
        self._position = await asyncio.to_thread(self._read_position)
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._wake_all()

    def check_now(self) -> None:
        """Read the position now instead of at the next poll. May be called from any thread."""
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._check.set)

    def ticket(self) -> ChangeTicket:
        """Take a ticket before reading the database, and wait for it afterwards. No change in between is missed.

        A change is an event of the feed or the revocation of an API key.
        """
        assert self._changed is not None
        return ChangeTicket(self._changed)

    def _wake_all(self) -> None:
        if self._loop and self._changed and not self._changed.done():
            self._changed.set_result(None)
            self._changed = self._loop.create_future()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._check.wait(), self._poll_seconds)
            self._check.clear()
            try:
                before, found = self._position, await asyncio.to_thread(self._read_position)
                self._position = found
                if before is None or before.served != found.served:
                    for callback in self.on_served:
                        await callback()
                if before is None or (before.seq, before.revoked_keys) != (found.seq, found.revoked_keys):
                    self._wake_all()
            except Exception:
                # The database does not answer. A request that waits gets an error of its own when it reads.
                log.exception("watch.failed")
                await asyncio.sleep(RETRY_SECONDS)

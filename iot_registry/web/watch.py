"""Waking long polls, streams and enrollments when the database moves, whichever process moved it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from iot_registry.feed import Position

log = structlog.get_logger("iot_registry.web")

POLL_SECONDS = 0.2
# Certificates that were published before anyone came to wait for them; far more than one round publishes.
MAX_SETTLED = 10_000


class ChangeWatch:
    """One task that looks at the database's position for all who wait; `poke` (from any thread) makes it look
    now.

    on_served: called when domains or CAs have changed.
    """

    def __init__(self, read_position: Callable[[], Position]) -> None:
        self._read_position = read_position
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look = asyncio.Event()
        self._moved: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._position: Position | None = None
        self.on_served: list[Callable[[], Awaitable[None]]] = []

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._moved = self._loop.create_future()
        self._position = await asyncio.to_thread(self._read_position)
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
        """Wait until the feed has moved, or an API key was revoked, since the ticket was taken; at most `seconds`.
        Returns whether it did.
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
                before, found = self._position, await asyncio.to_thread(self._read_position)
                self._position = found
                if before is None or before.served != found.served:
                    for callback in self.on_served:
                        await callback()
                if before is None or (before.seq, before.revoked_keys) != (found.seq, found.revoked_keys):
                    self._wake_all()
            except Exception:
                # The database is away: keep looking, its readers get errors of their own.
                log.exception("watch.failed")
                await asyncio.sleep(1.0)


class Settled:
    """Who waits for a certificate's record to be in the DNS, and the publisher of this process that knows.

    Only the certificate that is published wakes: were everyone woken to look, n enrollments at a time would look n * n
    times. Where another process publishes, nobody is told here, and who waits looks for himself.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        self._recent: OrderedDict[int, None] = OrderedDict()

    def tell(self, certificates: Sequence[int]) -> None:
        """These (row numbers) are in the DNS. From any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, certificates)

    def _tell(self, certificates: Sequence[int]) -> None:
        for certificate in certificates:
            for future in self._waiting.pop(certificate, ()):
                if not future.done():
                    future.set_result(None)
            self._recent[certificate] = None
            self._recent.move_to_end(certificate)
        while len(self._recent) > MAX_SETTLED:
            self._recent.popitem(last=False)

    async def wait(self, certificate: int, seconds: float) -> bool:
        """Wait until it was told, at most `seconds`; returns whether it was."""
        if certificate in self._recent:
            return True
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.setdefault(certificate, []).append(future)
        try:
            done, _ = await asyncio.wait({future}, timeout=seconds)
            return bool(done)
        finally:
            others = self._waiting.get(certificate, [])
            if future in others:
                others.remove(future)
            if not others:
                self._waiting.pop(certificate, None)

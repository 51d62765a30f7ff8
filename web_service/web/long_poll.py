"""Waiting for the next events of a change feed, for as long as the caller's key is valid."""

from __future__ import annotations

import asyncio
import datetime as dt
from functools import partial
from typing import Any, Protocol, TypeVar

from sqlalchemy.orm import Session

from web_service.local.clock import utc_now
from web_service.web.context import WebContext


class FeedBatch(Protocol):
    """Events after a number. next: the number to continue from."""

    @property
    def changes(self) -> list[dict[str, Any]]: ...
    @property
    def next(self) -> int: ...


Batch = TypeVar("Batch", bound=FeedBatch, covariant=True)


class ReadSince(Protocol[Batch]):
    """Authenticates the caller, and returns when its key expires and the events after a number."""

    def __call__(self, session: Session, after: int) -> tuple[dt.datetime | None, Batch]: ...


async def next_batch(
    context: WebContext,
    read: ReadSince[Batch],
    since: int,
    wait: float,
) -> Batch:
    """The events after `since`; if there are none, those that come within `wait` seconds.

    Raises what `read` raises, also as soon as the key is revoked or expires.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        ticket = context.watch.ticket()
        expires_at, batch = await context.read(partial(read, after=since))
        left = deadline - loop.time()
        if batch.changes or left <= 0 or context.stopping.is_set():
            return batch
        # Events that the caller may not see advance the number, too; they need not be read again.
        since = batch.next
        if expires_at is not None:
            left = min(left, max(0.0, (expires_at - utc_now()).total_seconds()))
        await ticket.wait(left)

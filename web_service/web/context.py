"""What the handlers of every running service share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy.orm import Session

from web_service.store import Database, Writer
from web_service.web.change_watch import ChangeWatch

T = TypeVar("T")


@dataclass(kw_only=True)
class WebContext:
    """The running service. stopping: set when open streams must end. body_seconds: how long a body may take."""

    database: Database
    writer: Writer
    watch: ChangeWatch
    body_seconds: float
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, function: Callable[[Session], T]) -> T:
        """The result of `function` in a read transaction, in a thread."""
        return await asyncio.to_thread(self.read_blocking, function)

    def read_blocking(self, function: Callable[[Session], T]) -> T:
        """The result of `function` in a read transaction, in this thread."""
        with self.database.read() as session:
            return function(session)

    async def write(self, function: Callable[[Session], T]) -> T:
        """The result of `function` in a write transaction, in a thread, once it is committed."""
        # The transaction goes on if the client disconnects.
        return await asyncio.shield(asyncio.wrap_future(self.writer.submit(function)))

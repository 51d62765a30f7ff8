"""Waiting until the DNS serves a change: one loop for the API, the commands here and the commands over the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from iot_registry.store import change_feed
from web_service.store import Database, Position
from web_service.web import ChangeWatch

# How often a command looks at the database. The publisher is another process and cannot notify it.
COMMAND_POLL_SECONDS = 0.05


class Publishable(Protocol):
    """A state of something that is published."""

    @property
    def pending(self) -> bool:
        """Whether the DNS does not serve this state yet."""


State = TypeVar("State", bound=Publishable)


class Ticket(Protocol):
    """Proof of the moment from which changes count."""

    async def wait(self, seconds: float) -> bool:
        """Wait for a change since the ticket was taken, at most `seconds`; returns whether there was one."""


class Watch(Protocol):
    """Something that notices changes. `ChangeWatch` watches the database."""

    def ticket(self) -> Ticket:
        """Take a ticket before looking at the state, and wait for it afterwards. No change in between is missed."""


class Interval:
    """A watch for states of which no change can be noticed: its tickets end after a fixed number of seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def ticket(self) -> Interval:
        return self

    async def wait(self, seconds: float) -> bool:
        await asyncio.sleep(min(self._seconds, seconds))
        return True


async def until_published(look: Callable[[], State], watch: Watch, seconds: float) -> State:
    """The first state that is not pending, or the state after `seconds`.

    look: reads the state. It may block, and runs in a thread.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        ticket = watch.ticket()
        state = await asyncio.to_thread(look)
        left = deadline - loop.time()
        if not state.pending or left <= 0:
            return state
        await ticket.wait(left)


def wait_until_published(look: Callable[[], State], database: Database, seconds: float) -> State:
    """As `until_published`, blocking, for a process that does not watch the database yet."""

    def read_position() -> Position:
        with database.read() as session:
            return change_feed.position(session)

    async def wait() -> State:
        async with ChangeWatch(read_position, COMMAND_POLL_SECONDS) as watch:
            return await until_published(look, watch, seconds)

    return asyncio.run(wait())

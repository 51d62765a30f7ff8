"""Whose turn it is to be looked up: a queue and slots for each source of names, so that none delays another.

A registry's names are looked up in slots of its own. Names of other domains share slots, few for each domain, and the
domains take turns.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class _Lane:
    slots: int
    # Whether it takes part in the slots that are shared.
    shares: bool
    urgent: OrderedDict[str, None] = field(default_factory=OrderedDict)
    routine: OrderedDict[str, None] = field(default_factory=OrderedDict)
    running: int = 0

    def next(self) -> str | None:
        queue = self.urgent or self.routine
        return queue.popitem(last=False)[0] if queue and self.running < self.slots else None

    @property
    def empty(self) -> bool:
        return not (self.urgent or self.routine or self.running)


class Lanes:
    """Runs `look` for names, each at most once at a time. `done` is told of each that has ended.

    own: slots of each source that has its own. shared: slots of all other lanes together; shared_each: of one of them.
    """

    def __init__(
        self,
        look: Callable[[str], Awaitable[None]],
        done: Callable[[str], None],
        *,
        own: int,
        shared: int,
        shared_each: int,
    ) -> None:
        self._look, self._done = look, done
        self._own, self._shared, self._shared_each = own, shared, shared_each
        self._lanes: dict[str, _Lane] = {}
        # Lanes that share slots, and have names that wait for one, in the order of their turns.
        self._waiting: OrderedDict[str, _Lane] = OrderedDict()
        self._shared_running = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The look-ups under way."""
        return list(self._tasks.values())

    def put(self, key: str, name: str, *, own: bool, urgent: bool) -> None:
        """Queue a name in a lane. One that is being looked up is left alone: `done` will say when that has ended."""
        if name in self._tasks:
            return
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self._own if own else self._shared_each, shares=not own)
        if urgent:
            lane.routine.pop(name, None)
            lane.urgent[name] = None
        elif name not in lane.urgent:
            lane.routine[name] = None
        self._go_on(key, lane)

    def _go_on(self, key: str, lane: _Lane) -> None:
        """Use the slots that are free."""
        if not lane.shares:
            while (name := lane.next()) is not None:
                self._start(key, lane, name)
            return
        if lane.urgent or lane.routine:
            self._waiting.setdefault(key, lane)
        for _ in range(len(self._waiting)):
            if self._shared_running >= self._shared:
                return
            key, lane = self._waiting.popitem(last=False)
            name = lane.next()
            if name is not None:
                self._start(key, lane, name)
            if lane.urgent or lane.routine:
                self._waiting[key] = lane

    def _start(self, key: str, lane: _Lane, name: str) -> None:
        lane.running += 1
        self._shared_running += lane.shares
        task = asyncio.create_task(self._run(name), name=f"look {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._ended(key, lane, name))

    async def _run(self, name: str) -> None:
        await self._look(name)

    def _ended(self, key: str, lane: _Lane, name: str) -> None:
        self._tasks.pop(name, None)
        lane.running -= 1
        self._shared_running -= lane.shares
        self._done(name)
        self._go_on(key, lane)
        if lane.empty and self._lanes.get(key) is lane:
            del self._lanes[key]

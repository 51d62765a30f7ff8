"""Schedules lookups: each source of names has its own queue and slots, so no source delays another.

The names of a registry have slots of their own. All other identity domains take turns in shared slots, of which each
domain may use only a few at a time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class _SourceQueue:
    slots: int
    # Whether it uses the shared slots.
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


class LookupQueue:
    """Calls `look_up` for names, each at most once at a time, and `done` after each.

    own: slots of each source that has its own. shared: slots of all other sources together. shared_each: the most of
    these for one source.
    """

    def __init__(
        self,
        look_up: Callable[[str], Awaitable[None]],
        done: Callable[[str], None],
        *,
        own: int,
        shared: int,
        shared_each: int,
    ) -> None:
        self._look_up, self._done = look_up, done
        self._own, self._shared, self._shared_each = own, shared, shared_each
        self._sources: dict[str, _SourceQueue] = {}
        # Sources that wait for a shared slot, in the order of their turns.
        self._waiting: OrderedDict[str, _SourceQueue] = OrderedDict()
        self._shared_running = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The lookups in progress."""
        return list(self._tasks.values())

    def put(self, key: str, name: str, *, own: bool, urgent: bool) -> None:
        """Queue a name. One that is being looked up is ignored: `done` is called when that has ended.

        own: whether the source `key` has slots of its own. urgent: before the names of the source that are not.
        """
        if name in self._tasks:
            return
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = _SourceQueue(self._own if own else self._shared_each, shares=not own)
        if urgent:
            source.routine.pop(name, None)
            source.urgent[name] = None
        elif name not in source.urgent:
            source.routine[name] = None
        self._start_next(key, source)

    def _start_next(self, key: str, source: _SourceQueue) -> None:
        """Start lookups in the free slots."""
        if not source.shares:
            while (name := source.next()) is not None:
                self._start(key, source, name)
            return
        if source.urgent or source.routine:
            self._waiting.setdefault(key, source)
        for _ in range(len(self._waiting)):
            if self._shared_running >= self._shared:
                return
            key, source = self._waiting.popitem(last=False)
            name = source.next()
            if name is not None:
                self._start(key, source, name)
            if source.urgent or source.routine:
                self._waiting[key] = source

    def _start(self, key: str, source: _SourceQueue, name: str) -> None:
        source.running += 1
        self._shared_running += source.shares
        task = asyncio.create_task(self._run(name), name=f"look up {name}")
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._ended(key, source, name))

    async def _run(self, name: str) -> None:
        await self._look_up(name)

    def _ended(self, key: str, source: _SourceQueue, name: str) -> None:
        self._tasks.pop(name, None)
        source.running -= 1
        self._shared_running -= source.shares
        self._done(name)
        self._start_next(key, source)
        if source.empty and self._sources.get(key) is source:
            del self._sources[key]

"""The lookup queue: a source whose lookups hang delays no other source."""

from __future__ import annotations

import asyncio
from collections import Counter

from trust_sync.sessions.lookup_queue import LookupQueue


class Lookups:
    """Lookups that last until a test lets them end."""

    def __init__(self, **slots: int) -> None:
        self.running: dict[str, asyncio.Event] = {}
        self.ended: list[str] = []
        self.queue = LookupQueue(self.look_up, self.ended.append, **slots)
        self.most: Counter[str] = Counter()

    async def look_up(self, name: str) -> None:
        self.running[name] = asyncio.Event()
        for key, count in Counter(running[0] for running in self.running).items():
            self.most[key] = max(self.most[key], count)
        await self.running[name].wait()
        del self.running[name]

    async def turn(self) -> None:
        """Run the tasks that are ready."""
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self, *names: str) -> None:
        for name in names:
            self.running[name].set()
        await self.turn()


async def test_a_source_whose_lookups_hang_leaves_others_alone() -> None:
    looks = Lookups(own=2, shared=2, shared_each=1)
    for n in range(100):
        looks.queue.put("a", f"a{n}", own=True, urgent=True)
    for n in range(3):
        looks.queue.put("b", f"b{n}", own=True, urgent=False)
    looks.queue.put("x", "x1", own=False, urgent=True)
    await looks.turn()
    assert set(looks.running) == {"a0", "a1", "b0", "b1", "x1"}
    # An urgent name comes first in its own queue.
    looks.queue.put("b", "b9", own=True, urgent=True)
    await looks.end("b0")
    assert "b9" in looks.running
    await looks.end("b1", "b9", "x1", "a0", "a1")
    assert set(looks.running) == {"b2", "a2", "a3"}
    assert looks.ended[:2] == ["b0", "b1"]


async def test_other_domains_share_slots_and_take_turns() -> None:
    looks = Lookups(own=2, shared=3, shared_each=2)
    for n in range(4):
        for source in "xyz":
            looks.queue.put(source, f"{source}{n}", own=False, urgent=False)
    await looks.turn()
    assert len(looks.running) == 3
    while looks.running:
        await looks.end(next(iter(looks.running)))
    assert sorted(looks.ended) == [f"{source}{n}" for source in "xyz" for n in range(4)]
    assert max(looks.most.values()) <= 2
    # A domain whose lookups hang holds two slots. The third is free for the others.
    for n in range(4):
        looks.queue.put("x", f"x{n}", own=False, urgent=False)
        looks.queue.put("y", f"y{n}", own=False, urgent=False)
    await looks.turn()
    while any(name[0] == "y" for name in looks.running):
        await looks.end(next(name for name in looks.running if name[0] == "y"))
    assert {f"y{n}" for n in range(4)} <= set(looks.ended[12:])
    await looks.end(*looks.running)
    await looks.end(*looks.running)
    assert looks.queue._sources == {}
    assert looks.queue._waiting == {}


async def test_a_name_is_looked_up_once_at_a_time() -> None:
    looks = Lookups(own=4, shared=1, shared_each=1)
    for _ in range(3):
        looks.queue.put("a", "a1", own=True, urgent=True)
        await looks.turn()
    assert len(looks.queue.tasks) == 1
    await looks.end("a1")
    assert looks.ended == ["a1"]
    assert looks.queue.tasks == []

"""Whose turn it is: sources of names, NASes, and what one of them may have under way."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust_sync.fair import FairQueue
from trust_sync.lanes import Lanes
from trust_sync.nas_queue import NasQueue, Ticket
from trust_sync.pace import Budget, Pace

# fair queue


def test_sources_take_turns_and_keep_their_own_order() -> None:
    queue = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "a1", "c1", "c2"):
        queue.put(item[0], item)
    assert len(queue) == 6
    assert queue.remove("a2")
    assert not queue.remove("a2")
    assert [queue.pop() for _ in range(len(queue))] == ["a1", "b1", "c1", "a3", "c2"]
    with pytest.raises(KeyError):
        queue.pop()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans())))
def test_nothing_is_lost_or_doubled(steps: list[tuple[str, int, bool]]) -> None:
    queue, model = FairQueue(), set()
    for source, number, add in steps:
        item = f"{source}{number}"
        if add:
            queue.put(source, item)
            model.add(item)
        else:
            assert queue.remove(item) == (item in model)
            model.discard(item)
    assert sorted(queue.items) == sorted(model)
    assert sorted(queue.pop() for _ in range(len(queue))) == sorted(model)


# lanes


class Looks:
    """Look-ups that last until a test lets them end."""

    def __init__(self, **slots: int) -> None:
        self.running: dict[str, asyncio.Event] = {}
        self.ended: list[str] = []
        self.lanes = Lanes(self.look, self.ended.append, **slots)
        self.most: Counter[str] = Counter()

    async def look(self, name: str) -> None:
        self.running[name] = asyncio.Event()
        for key, count in Counter(running[0] for running in self.running).items():
            self.most[key] = max(self.most[key], count)
        await self.running[name].wait()
        del self.running[name]

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def end(self, *names: str) -> None:
        for name in names:
            self.running[name].set()
        await self.turn()


async def test_a_source_whose_look_ups_hang_leaves_others_alone() -> None:
    looks = Looks(own=2, shared=2, shared_each=1)
    for n in range(100):
        looks.lanes.put("a", f"a{n}", own=True, urgent=True)
    for n in range(3):
        looks.lanes.put("b", f"b{n}", own=True, urgent=False)
    looks.lanes.put("x", "x1", own=False, urgent=True)
    await looks.turn()
    assert set(looks.running) == {"a0", "a1", "b0", "b1", "x1"}
    # What is urgent comes first in its own lane.
    looks.lanes.put("b", "b9", own=True, urgent=True)
    await looks.end("b0")
    assert "b9" in looks.running
    await looks.end("b1", "b9", "x1", "a0", "a1")
    assert set(looks.running) == {"b2", "a2", "a3"}
    assert looks.ended[:2] == ["b0", "b1"]


async def test_other_domains_share_slots_and_take_turns() -> None:
    looks = Looks(own=2, shared=3, shared_each=2)
    for n in range(4):
        for source in "xyz":
            looks.lanes.put(source, f"{source}{n}", own=False, urgent=False)
    await looks.turn()
    assert len(looks.running) == 3
    while looks.running:
        await looks.end(next(iter(looks.running)))
    assert sorted(looks.ended) == [f"{source}{n}" for source in "xyz" for n in range(4)]
    assert max(looks.most.values()) <= 2
    # Whoever hangs holds two slots, and the third is everybody's.
    for n in range(4):
        looks.lanes.put("x", f"x{n}", own=False, urgent=False)
        looks.lanes.put("y", f"y{n}", own=False, urgent=False)
    await looks.turn()
    while any(name[0] == "y" for name in looks.running):
        await looks.end(next(name for name in looks.running if name[0] == "y"))
    assert {f"y{n}" for n in range(4)} <= set(looks.ended[12:])
    await looks.end(*looks.running)
    await looks.end(*looks.running)
    assert looks.lanes._lanes == {}
    assert looks.lanes._waiting == {}


async def test_a_name_is_looked_up_once_at_a_time() -> None:
    looks = Looks(own=4, shared=1, shared_each=1)
    for _ in range(3):
        looks.lanes.put("a", "a1", own=True, urgent=True)
        await looks.turn()
    assert len(looks.lanes.tasks) == 1
    await looks.end("a1")
    assert looks.ended == ["a1"]
    assert looks.lanes.tasks == []


# NASes


def queue(in_flight: int = 100, per_nas: int = 8) -> NasQueue:
    return NasQueue(in_flight, per_nas, 5.0, 40.0)


def drain(nases: NasQueue, now: float = 0.0) -> list[Ticket]:
    taken = []
    while (ticket := nases.take(now)) is not None:
        taken.append(ticket)
    return taken


def test_a_nas_gets_more_at_once_as_it_answers_and_never_more_than_it_may() -> None:
    nases = queue()
    for n in range(200):
        nases.put("nas", f"s{n}", "a", urgent=True)
    flights = []
    for _ in range(6):
        tickets = drain(nases)
        flights.append(len(tickets))
        for ticket in tickets:
            nases.done(ticket, 0.0, reached=True)
    assert flights == [4, 8, 8, 8, 8, 8]


def test_the_total_holds_and_nases_take_turns() -> None:
    nases = queue(in_flight=10)
    for n in range(300):
        nases.put(f"nas{n % 30}", f"s{n}", "a", urgent=True)
    seen: Counter[str] = Counter()
    for _ in range(6):
        tickets = drain(nases)
        assert len(tickets) == 10
        seen.update(ticket.nas for ticket in tickets)
        for ticket in tickets:
            nases.done(ticket, 0.0, reached=True)
    assert set(seen.values()) == {2}
    assert len(seen) == 30


def test_revocations_come_before_changes_of_policy() -> None:
    nases = queue(in_flight=1)
    nases.put("one", "move1", "a", urgent=False)
    nases.put("two", "move2", "a", urgent=False)
    nases.put("three", "end3", "a", urgent=True)
    nases.put("two", "end2", "a", urgent=True)
    nases.put("two", "move2", "a", urgent=True)
    order = []
    while (ticket := nases.take(0.0)) is not None:
        order.append(ticket.key)
        nases.done(ticket, 0.0, reached=True)
    assert order == ["end2", "end3", "move2", "move1"] or order == ["end3", "end2", "move2", "move1"]


def test_a_silent_nas_costs_one_request_now_and_then_and_all_come_when_it_is_back() -> None:
    nases = queue()
    for n in range(5000):
        nases.put("nas", f"s{n}", "a", urgent=True)
    nases.put("other", "o1", "a", urgent=True)
    now, sent = 0.0, 0
    while now < 600:
        for ticket in drain(nases, now):
            sent += ticket.nas == "nas"
            if ticket.nas == "nas":
                nases.put("nas", ticket.key, "a", urgent=True)
            nases.done(ticket, now, reached=ticket.nas != "nas")
        assert nases.next_due is not None
        now = max(now + 0.5, nases.next_due)
    # Four at first; then after 5, 10, 20, 40, 40, ... seconds.
    assert 15 <= sent <= 25
    assert len(nases.keys("nas")) == 5000
    ticket = nases.take(now + 40)
    assert ticket is not None
    assert nases.take(now + 40) is None
    nases.done(ticket, now + 40, reached=True)
    assert nases.due("nas") == 0.0
    asked = {ticket.key}
    while tickets := drain(nases, now + 41):
        for ticket in tickets:
            asked.add(ticket.key)
            nases.done(ticket, now + 41, reached=True)
    assert len(asked) == 5000
    assert nases._nases == {}


def test_requests_that_were_lost_together_count_once() -> None:
    nases = queue()
    for n in range(8):
        nases.put("nas", f"s{n}", "a", urgent=True)
    tickets = drain(nases)
    first = [nases.done(ticket, 0.0, reached=False) for ticket in tickets]
    assert first == [True, False, False, False]
    assert nases.due("nas") == 5.0
    assert nases.take(4.9) is None
    assert nases.take(5.0) is not None


def test_one_that_is_forgotten_is_not_asked_for() -> None:
    nases = queue()
    nases.put("nas", "s1", "a", urgent=True)
    nases.put("nas", "s2", "a", urgent=False)
    nases.forget("s1", "nas")
    nases.forget("s1", "elsewhere")
    assert [ticket.key for ticket in drain(nases)] == ["s2"]


def test_a_clock_that_is_set_back_does_not_keep_a_nas_waiting() -> None:
    nases = queue()
    nases.put("nas", "s1", "a", urgent=True)
    (ticket,) = drain(nases, 1e9)
    nases.put("nas", "s1", "a", urgent=True)
    nases.done(ticket, 1e9, reached=False)
    assert nases.take(0.0) is None
    nases.hurry()
    assert nases.take(0.0) is not None


# pace and budget


async def test_work_is_broken_off_for_as_long_as_it_lasted_and_waiting_is_no_work() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    loop = asyncio.get_running_loop()

    async def slept(work: float) -> float:
        began = loop.time()
        now[0] += work
        await pace.rest()
        return loop.time() - began

    assert await slept(0.001) < 0.05
    assert await slept(0.2) >= 0.2
    pace.pause()
    now[0] += 60
    pace.begin()
    async with asyncio.timeout(10):
        await slept(0.01)


def test_one_within_its_share_is_never_refused() -> None:
    budget = Budget(100, 4)
    assert budget.hold("a", 90)
    assert not budget.hold("a", 101)
    assert budget.hold("b", 10)
    assert not budget.hold("b", 26)
    assert budget.hold("b", 25)
    assert budget.hold("c", 25)
    budget.release("a")
    assert budget.hold("b", 75)
    assert not budget.hold("b", 76)

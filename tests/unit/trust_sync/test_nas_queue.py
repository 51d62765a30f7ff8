"""The order of requests to NASes, and how many are outstanding."""

from __future__ import annotations

from collections import Counter

from trust_sync.sessions.nas_queue import NasQueue, NasResponse, Ticket


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
            nases.done(ticket, 0.0, response=NasResponse.ANSWERED)
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
            nases.done(ticket, 0.0, response=NasResponse.ANSWERED)
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
        nases.done(ticket, 0.0, response=NasResponse.ANSWERED)
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
            nases.done(ticket, now, response=NasResponse.SILENT if ticket.nas == "nas" else NasResponse.ANSWERED)
        assert nases.next_due is not None
        now = max(now + 0.5, nases.next_due)
    # Four requests at first, then one after 5, 10, 20, 40, 40, ... seconds.
    assert 15 <= sent <= 25
    assert len(nases.keys("nas")) == 5000
    ticket = nases.take(now + 40)
    assert ticket is not None
    assert nases.take(now + 40) is None
    nases.done(ticket, now + 40, response=NasResponse.ANSWERED)
    assert nases.due("nas") == 0.0
    asked = {ticket.key}
    while tickets := drain(nases, now + 41):
        for ticket in tickets:
            asked.add(ticket.key)
            nases.done(ticket, now + 41, response=NasResponse.ANSWERED)
    assert len(asked) == 5000
    assert nases._nases == {}


def test_requests_that_were_lost_together_count_once() -> None:
    nases = queue()
    for n in range(8):
        nases.put("nas", f"s{n}", "a", urgent=True)
    tickets = drain(nases)
    first = [nases.done(ticket, 0.0, response=NasResponse.SILENT) for ticket in tickets]
    assert first == [True, False, False, False]
    assert nases.due("nas") == 5.0
    assert nases.take(4.9) is None
    assert nases.take(5.0) is not None


def test_one_that_is_forgotten_is_not_asked_for() -> None:
    nases = queue()
    nases.put("nas", "s1", "a", urgent=True)
    nases.put("nas", "s2", "a", urgent=False)
    nases.discard("s1", "nas")
    nases.discard("s1", "elsewhere")
    assert [ticket.key for ticket in drain(nases)] == ["s2"]


def test_a_clock_that_is_set_back_does_not_keep_a_nas_waiting() -> None:
    nases = queue()
    nases.put("nas", "s1", "a", urgent=True)
    (ticket,) = drain(nases, 1e9)
    nases.put("nas", "s1", "a", urgent=True)
    nases.done(ticket, 1e9, response=NasResponse.SILENT)
    assert nases.take(0.0) is None
    nases.make_due()
    assert nases.take(0.0) is not None

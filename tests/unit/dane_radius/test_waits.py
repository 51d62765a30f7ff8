"""Requests that wait outside the Python lock: signals, limits, and the reuse of descriptors."""

from __future__ import annotations

import os
import re
import resource
import select
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dane_radius.core.answers import Secure, Unavailable
from dane_radius.dns.background import Cause
from dane_radius.dns.cache import CacheLimits
from dane_radius.dns.domains import Domain, WaitLimit, WaitLimits
from dane_radius.dns.lookups import Lookup, Lookups
from dane_radius.server.hint import HintResult
from dane_radius.server.waits import HintUnderWay, Wait, Waits, reserve_descriptors
from tests.unit.dane_radius.script import WAIT, Clock, Script, until
from tests.unit.dane_radius.test_cache import DOWN, GONE, GOOD, NAME


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert reserve_descriptors(100) == 100
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Site:
    """An engine whose lookups are held back until `script.gate` opens, and its waits."""

    def __init__(self) -> None:
        self.script, self.clock = Script(), Clock()
        self.script.gate.clear()
        limits = WaitLimits(max_waiting=8, max_waiting_per_slow_domain=2, slow_after=1.0)
        self.lookups = Lookups(self.script, CacheLimits(stale_grace=50), limits, self.clock)
        self.waits: Waits[str] = Waits(self.lookups, 1.5, self.clock)
        self.lookups.start()

    def start_wait(self, name: str = NAME, subject: str = "request") -> Wait[str]:
        wait = self.waits.start_wait(name, subject)
        assert isinstance(wait, Wait)
        return wait

    def answer_all(self) -> None:
        self.script.gate.set()
        until(lambda: self.lookups.under_way == 0)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.script.gate.set()
    site.lookups.stop()
    site.waits.close()


def signalled(wait: Wait[str], seconds: float = WAIT) -> bool:
    return bool(readable(wait.event, seconds))


def readable(event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(event, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_request_is_signalled_when_the_answer_arrives(site: Site) -> None:
    wait = site.start_wait()
    assert re.fullmatch(rf"{wait.event} 1750 \d+", wait.text)
    assert not signalled(wait, 0)
    assert len(site.waits) == 1
    site.script.gate.set()
    assert signalled(wait)
    left = site.waits.end_wait(wait.text)
    assert left is wait
    assert left.subject == "request"
    assert site.waits.answer(left) == GOOD
    assert (len(site.waits), site.lookups.domains.waiting, site.waits.counts.answered) == (0, 0, 1)


def test_a_cached_answer_needs_no_wait(site: Site) -> None:
    site.script.gate.set()
    first = site.waits.start_wait(NAME, "")
    if isinstance(first, Wait):
        assert signalled(first)
        site.waits.end_wait(first.text)
    assert site.waits.start_wait(NAME, "") == GOOD
    assert site.script.asked == [NAME]


def test_one_lookup_signals_all_requests_for_its_name(site: Site) -> None:
    waits = [site.start_wait(subject=str(number)) for number in range(6)]
    assert len({wait.event for wait in waits}) == 6
    site.script.gate.set()
    assert all(signalled(wait) for wait in waits)
    assert [site.waits.answer(site.waits.end_wait(wait.text) or waits[0]) for wait in waits] == [GOOD] * 6
    assert site.script.asked == [NAME]


def test_a_wait_without_an_answer_times_out_with_its_reason(site: Site) -> None:
    wait = site.start_wait()
    site.clock.now += 1.6
    assert site.waits.end_wait(wait.text) is wait
    answer = site.waits.answer(wait)
    assert isinstance(answer, Unavailable)
    assert not answer.overloaded
    assert "no answer within 1.5 s" in answer.detail
    assert site.waits.counts.timed_out == 1
    assert site.lookups.under_way == 1, "the lookup goes on for the device's next try"


def test_a_wait_that_is_cut_short_has_no_answer(site: Site) -> None:
    """If dane_wait returns at once, for any reason, no device is admitted."""
    wait = site.start_wait()
    assert site.waits.end_wait(wait.text) is wait
    answer = site.waits.answer(wait)
    assert isinstance(answer, Unavailable)
    assert "cut short" in answer.detail
    assert site.waits.counts.cut_short == 1


def test_a_stale_answer_replaces_a_late_one(site: Site) -> None:
    with site.lookups.lock:
        site.lookups.cache.store(NAME, GOOD, site.clock() - 110)
    wait = site.start_wait()
    site.clock.now += 1.6
    site.waits.end_wait(wait.text)
    answer = site.waits.answer(wait)
    assert isinstance(answer, Secure)
    assert answer.stale


@pytest.mark.parametrize(
    "text", ["", "x", "5 1000", "5 1000 0", "5 1000 99999", "5 1000 -1", "5 1000 1x", "\0", "1" * 99]
)
def test_an_unknown_wait_is_none(site: Site, text: str) -> None:
    wait = site.start_wait()
    assert site.waits.end_wait(text) is None
    assert site.waits.end_wait(wait.text) is wait
    assert site.waits.end_wait(wait.text) is None, "a wait can be ended only once"


def test_requests_beyond_the_limit_are_refused_at_once_with_the_reason(site: Site) -> None:
    waits = [site.start_wait(f"d{number}._device.example.net") for number in range(6)]
    refused = site.waits.start_wait("d9._device.example.net", "")
    assert isinstance(refused, Unavailable)
    assert refused.overloaded
    assert "6 requests wait for the DNS" in refused.detail
    assert site.waits.counts.refused[WaitLimit.UNKNOWN_DOMAINS] == 1
    site.waits.end_wait(waits[0].text)
    assert isinstance(site.waits.start_wait("d9._device.example.net", ""), Wait)


def test_a_dead_domain_is_limited_and_a_healthy_one_is_not(site: Site) -> None:
    for number in range(2):
        site.start_wait(f"d{number}._device.dead.example")
    site.clock.now += 1.1
    refused = site.waits.start_wait("d9._device.dead.example", "")
    assert isinstance(refused, Unavailable)
    assert "does not answer" in refused.detail
    assert site.waits.counts.refused[WaitLimit.SLOW_DOMAIN] == 1
    site.start_wait()


def test_descriptors_are_reused_and_never_shared(site: Site) -> None:
    before = descriptors()
    for _ in range(20):
        waits = [site.start_wait(f"d{number}._device.example.net") for number in range(6)]
        assert len({wait.event for wait in waits}) == 6
        for wait in waits:
            assert not signalled(wait, 0), "a reused descriptor must not be signalled yet"
        site.script.gate.set()
        assert all(signalled(wait) for wait in waits)
        until(lambda: site.lookups.under_way == 0)
        site.script.gate.clear()
        for wait in waits:
            site.waits.end_wait(wait.text)
        site.lookups.flush()
    assert descriptors() == before + 6
    site.waits.sweep()
    assert descriptors() == before + 4


def test_a_descriptor_with_a_late_signal_is_reused_once_and_undisturbed(site: Site) -> None:
    """A request continues after the answer has arrived, but before the signal has.

    The signal must not reach the next wait on the descriptor. After some sweeps the descriptor is free, and only once:
    two waits on one descriptor would signal each other, and a sweep must not consume a signal for a live wait.
    """
    holder = site.start_wait("holder._device.example.net")
    early = site.start_wait()
    with site.lookups.lock:
        early.awaited.answer = GOOD
    assert site.waits.end_wait(early.text) is early
    assert site.start_wait("next._device.example.net").event != early.event
    # The late signal.
    early.signal()
    for _ in range(2):
        site.waits.sweep()
    reused = site.start_wait("reused._device.example.net")
    assert reused.event == early.event
    assert not signalled(reused, 0)
    reused.signal()
    for _ in range(3):
        site.waits.sweep()
    assert signalled(reused, 0), "a sweep must leave the signal of a live wait"
    others = [site.start_wait(f"d{number}._device.example.org") for number in range(2)]
    assert len({wait.event for wait in (holder, reused, *others)}) == 4


def test_a_sweep_closes_no_descriptor_that_a_wait_has_taken(site: Site) -> None:
    """A wait starts in another thread at the moment when a sweep divides the free descriptors into two lists."""
    waits = [site.start_wait(f"d{number}._device.example.net") for number in range(6)]
    site.answer_all()
    for wait in waits:
        assert signalled(wait)
        site.waits.end_wait(wait.text)
    site.script.gate.clear()
    lookup = site.lookups.start_lookup(NAME, Cause.CERTIFICATE)
    assert isinstance(lookup, Lookup)
    started: list[Wait[str] | None] = []
    thread = threading.Thread(target=lambda: started.append(site.waits.start_early_wait(lookup, "early")))

    class Interrupted(list[int]):
        def __getitem__(self, key: Any) -> Any:
            part = super().__getitem__(key)
            if not thread.ident:
                thread.start()
                # The thread cannot end while the sweep holds the lock. It must not have taken a descriptor either.
                thread.join(0.2)
            return part

    site.waits._free = Interrupted(site.waits._free)
    site.waits.sweep()
    thread.join(WAIT)
    [early] = started
    assert early is not None
    os.fstat(early.event)
    site.answer_all()
    assert signalled(early)


def test_without_descriptors_the_request_is_refused_with_its_reason(site: Site) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    assert reserve_descriptors(0) == 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    refused = site.waits.start_wait(NAME, "")
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert isinstance(refused, Unavailable)
    assert "no descriptor" in refused.detail
    assert site.waits.counts.refused[WaitLimit.DESCRIPTORS] == 1
    assert (len(site.waits), site.lookups.domains.waiting) == (0, 0)
    wait = site.start_wait()
    assert wait.event >= 1024, "FreeRADIUS's own sockets need the low ones"


def test_abandoned_requests_release_their_places_and_descriptors(site: Site) -> None:
    waits = [site.start_wait(f"d{number}._device.example.net") for number in range(6)]
    site.clock.now += 6.7
    assert site.waits.sweep() == 0, "FreeRADIUS may still call again"
    site.clock.now += 0.1
    assert site.waits.sweep() == 6
    assert (len(site.waits), site.lookups.domains.waiting, site.waits.counts.abandoned) == (0, 0, 6)
    assert site.waits.end_wait(waits[0].text) is None
    # Their lookups end later, and must not signal a descriptor that is used again.
    fresh = [site.start_wait(f"e{number}._device.example.org") for number in range(6)]
    assert {wait.event for wait in fresh} >= {wait.event for wait in waits[:4]}
    site.script.answer = GONE
    site.answer_all()
    assert all(len(wait.awaited.on_answer) == 0 for wait in waits)


def test_an_early_wait_counts_while_its_lookup_is_under_way(site: Site) -> None:
    lookup = site.lookups.start_lookup(NAME, Cause.CERTIFICATE)
    assert isinstance(lookup, Lookup)
    waits = [site.waits.start_early_wait(lookup, "early") for _ in range(7)]
    assert [wait is not None for wait in waits] == [True] * 6 + [False], "six may wait for an unknown domain"
    assert site.lookups.domains.waiting == 6
    site.answer_all()
    assert site.lookups.domains.waiting == 0
    assert site.waits.start_early_wait(lookup, "late") is None, "the answer is there"
    first = waits[0]
    assert first is not None
    assert signalled(first)
    left = site.waits.end_wait(first.text)
    assert left is first
    assert left.awaited.answer == GOOD
    # The devices of the other waits never send their next packet.
    site.clock.now += 6.8
    assert site.waits.sweep() == 5
    assert (len(site.waits), site.lookups.domains.waiting) == (0, 0)


def test_waits_for_hints_have_a_limit_of_their_own(site: Site) -> None:
    domain = Domain("(hints)")
    hint = HintUnderWay(domain)
    first, second = (site.waits.start_hint_wait(hint, "name", 0.3, 2) for _ in range(2))
    assert first is not None
    assert second is not None
    assert site.waits.start_hint_wait(hint, "name", 0.3, 2) is None
    site.waits.complete_hint(hint, HintResult.FOUND)
    assert signalled(first)
    assert site.waits.end_wait(first.text) is first
    assert site.waits.start_hint_wait(hint, "name", 0.3, 2) is None, "the answer is there"
    assert site.waits.end_wait(second.text) is second
    assert site.lookups.domains.waiting == 0


def test_requests_in_many_threads_are_all_answered(site: Site) -> None:
    """Requests start and end in many threads, while lookups are answered, flushed and fail."""
    outcomes: list[str] = []
    answers = [GOOD._replace(ttl=0), GONE._replace(ttl=0), DOWN]
    site.script.answer = lambda name: answers[len(site.script.asked) % 3]
    site.script.gate.set()

    def crowd(number: int) -> None:
        for turn in range(50):
            found = site.waits.start_wait(f"d{number % 3}._device.example.net", str(number))
            if not isinstance(found, Wait):
                outcomes.append(type(found).__name__)
                continue
            if turn % 10 == 9:
                site.lookups.flush()
            assert signalled(found)
            left = site.waits.end_wait(found.text)
            assert left is found
            outcomes.append(type(site.waits.answer(left)).__name__)

    threads = [threading.Thread(target=crowd, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 300
    assert site.waits.counts.cut_short == site.waits.counts.timed_out == 0
    assert (len(site.waits), site.lookups.domains.waiting) == (0, 0)

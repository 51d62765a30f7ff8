"""Requests that wait outside of the Python lock: who is woken, who may wait, and what is left behind."""

from __future__ import annotations

import os
import re
import resource
import select
import threading
from collections.abc import Iterator

import pytest

from dane_radius.core.answers import Secure, Unavailable
from dane_radius.dns.cache import CacheLimits
from dane_radius.dns.domains import Domain, Full, WaitLimits
from dane_radius.dns.lookups import Cause, Lookup, Lookups
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
    """An engine whose lookups are held back until `script.gate` is opened, and the waits on it."""

    def __init__(self) -> None:
        self.script, self.clock = Script(), Clock()
        self.script.gate.clear()
        limits = WaitLimits(places=8, places_of_slow_domain=2, slow_after=1.0)
        self.lookups = Lookups(self.script, CacheLimits(stale_grace=50), limits, self.clock)
        self.waits: Waits[str] = Waits(self.lookups, 1.5, self.clock)
        self.lookups.start()

    def enter(self, name: str = NAME, subject: str = "request") -> Wait[str]:
        wait = self.waits.enter(name, subject)
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


def woken(wait: Wait[str], seconds: float = WAIT) -> bool:
    return bool(readable(wait.event, seconds))


def readable(event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(event, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_request_is_woken_when_the_answer_is_there(site: Site) -> None:
    wait = site.enter()
    assert re.fullmatch(rf"{wait.event} 1750 \d+", wait.text)
    assert not woken(wait, 0)
    assert len(site.waits) == 1
    site.script.gate.set()
    assert woken(wait)
    left = site.waits.leave(wait.text)
    assert left is wait
    assert left.subject == "request"
    assert site.waits.answer(left) == GOOD
    assert (len(site.waits), site.lookups.domains.waiting, site.waits.counts.answered) == (0, 0, 1)


def test_an_answer_that_is_there_needs_no_wait(site: Site) -> None:
    site.script.gate.set()
    first = site.waits.enter(NAME, "")
    if isinstance(first, Wait):
        assert woken(first)
        site.waits.leave(first.text)
    assert site.waits.enter(NAME, "") == GOOD
    assert site.script.asked == [NAME]


def test_all_who_wait_for_one_name_are_woken_by_one_lookup(site: Site) -> None:
    waits = [site.enter(subject=str(number)) for number in range(6)]
    assert len({wait.event for wait in waits}) == 6
    site.script.gate.set()
    assert all(woken(wait) for wait in waits)
    assert [site.waits.answer(site.waits.leave(wait.text) or waits[0]) for wait in waits] == [GOOD] * 6
    assert site.script.asked == [NAME]


def test_without_an_answer_in_time_the_request_goes_on_with_the_reason(site: Site) -> None:
    wait = site.enter()
    site.clock.now += 1.6
    assert site.waits.leave(wait.text) is wait
    answer = site.waits.answer(wait)
    assert isinstance(answer, Unavailable)
    assert not answer.overloaded
    assert "no answer within 1.5 s" in answer.detail
    assert site.waits.counts.timed_out == 1
    assert site.lookups.under_way == 1, "for the device's next try"


def test_a_wait_that_failed_is_no_answer(site: Site) -> None:
    """dane_wait that returns at once, whatever the reason, lets nobody in."""
    wait = site.enter()
    assert site.waits.leave(wait.text) is wait
    answer = site.waits.answer(wait)
    assert isinstance(answer, Unavailable)
    assert "cut short" in answer.detail
    assert site.waits.counts.cut_short == 1


def test_a_stale_answer_may_stand_in_for_one_that_is_late(site: Site) -> None:
    with site.lookups.lock:
        site.lookups.cache.keep(NAME, GOOD, site.clock() - 110)
    wait = site.enter()
    site.clock.now += 1.6
    site.waits.leave(wait.text)
    answer = site.waits.answer(wait)
    assert isinstance(answer, Secure)
    assert answer.stale


@pytest.mark.parametrize(
    "text", ["", "x", "5 1000", "5 1000 0", "5 1000 99999", "5 1000 -1", "5 1000 1x", "\0", "1" * 99]
)
def test_a_wait_that_was_never_handed_out_is_none(site: Site, text: str) -> None:
    wait = site.enter()
    assert site.waits.leave(text) is None
    assert site.waits.leave(wait.text) is wait
    assert site.waits.leave(wait.text) is None, "a wait can be left once"


def test_too_many_are_refused_at_once_with_their_reason(site: Site) -> None:
    waits = [site.enter(f"d{number}._device.example.net") for number in range(6)]
    refused = site.waits.enter("d9._device.example.net", "")
    assert isinstance(refused, Unavailable)
    assert refused.overloaded
    assert "6 requests wait for the DNS" in refused.detail
    assert site.waits.counts.refused[Full.UNKNOWN_DOMAINS] == 1
    site.waits.leave(waits[0].text)
    assert isinstance(site.waits.enter("d9._device.example.net", ""), Wait)


def test_a_dead_domain_keeps_two_places_and_a_healthy_one_has_the_others(site: Site) -> None:
    for number in range(2):
        site.enter(f"d{number}._device.dead.example")
    site.clock.now += 1.1
    refused = site.waits.enter("d9._device.dead.example", "")
    assert isinstance(refused, Unavailable)
    assert "does not answer" in refused.detail
    assert site.waits.counts.refused[Full.SLOW_DOMAIN] == 1
    site.enter()


def test_descriptors_come_back_and_are_never_shared(site: Site) -> None:
    before = descriptors()
    for _ in range(20):
        waits = [site.enter(f"d{number}._device.example.net") for number in range(6)]
        assert len({wait.event for wait in waits}) == 6
        for wait in waits:
            assert not woken(wait, 0), "a used descriptor must not wake its next user"
        site.script.gate.set()
        assert all(woken(wait) for wait in waits)
        until(lambda: site.lookups.under_way == 0)
        site.script.gate.clear()
        for wait in waits:
            site.waits.leave(wait.text)
        site.lookups.flush()
    assert descriptors() == before + 6
    site.waits.sweep()
    assert descriptors() == before + 4


def test_without_descriptors_the_request_is_refused_with_its_reason(site: Site) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    assert reserve_descriptors(0) == 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    refused = site.waits.enter(NAME, "")
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert isinstance(refused, Unavailable)
    assert "no descriptor" in refused.detail
    assert site.waits.counts.refused[Full.DESCRIPTORS] == 1
    assert (len(site.waits), site.lookups.domains.waiting) == (0, 0)
    wait = site.enter()
    assert wait.event >= 1024, "FreeRADIUS's own sockets need the low ones"


def test_requests_that_were_given_up_leave_nothing_behind(site: Site) -> None:
    waits = [site.enter(f"d{number}._device.example.net") for number in range(6)]
    site.clock.now += 6.7
    assert site.waits.sweep() == 0, "FreeRADIUS may still ask"
    site.clock.now += 0.1
    assert site.waits.sweep() == 6
    assert (len(site.waits), site.lookups.domains.waiting, site.waits.counts.abandoned) == (0, 0, 6)
    assert site.waits.leave(waits[0].text) is None
    # Their lookups end later, and must write to nobody's descriptor.
    fresh = [site.enter(f"e{number}._device.example.org") for number in range(6)]
    assert {wait.event for wait in fresh} >= {wait.event for wait in waits[:4]}
    site.script.answer = GONE
    site.answer_all()
    assert all(len(wait.awaited.to_wake) == 0 for wait in waits)


def test_an_early_wait_counts_while_its_lookup_is_under_way(site: Site) -> None:
    lookup = site.lookups.start_lookup(NAME, Cause.CERTIFICATE)
    assert isinstance(lookup, Lookup)
    waits = [site.waits.enter_early(lookup, "early") for _ in range(7)]
    assert [wait is not None for wait in waits] == [True] * 6 + [False], "as many as may wait for an unknown domain"
    assert site.lookups.domains.waiting == 6
    site.answer_all()
    assert site.lookups.domains.waiting == 0
    assert site.waits.enter_early(lookup, "late") is None, "it is answered"
    first = waits[0]
    assert first is not None
    assert woken(first)
    left = site.waits.leave(first.text)
    assert left is first
    assert left.awaited.answer == GOOD
    # The others belong to devices that never sent their next packet.
    site.clock.now += 6.8
    assert site.waits.sweep() == 5
    assert (len(site.waits), site.lookups.domains.waiting) == (0, 0)


def test_a_hint_has_places_of_its_own(site: Site) -> None:
    domain = Domain("(hints)")
    hint = HintUnderWay(domain)
    first, second = (site.waits.enter_for_hint(hint, "name", 0.3, 2) for _ in range(2))
    assert first is not None
    assert second is not None
    assert site.waits.enter_for_hint(hint, "name", 0.3, 2) is None
    site.waits.tell(hint, HintResult.FOUND)
    assert woken(first)
    assert site.waits.leave(first.text) is first
    assert site.waits.enter_for_hint(hint, "name", 0.3, 2) is None, "it is answered"
    assert site.waits.leave(second.text) is second
    assert site.lookups.domains.waiting == 0


def test_a_crowd_in_threads_is_served_and_counted(site: Site) -> None:
    """Requests come and go in many threads while lookups are answered, flushed and fail."""
    outcomes: list[str] = []
    answers = [GOOD._replace(ttl=0), GONE._replace(ttl=0), DOWN]
    site.script.answer = lambda name: answers[len(site.script.asked) % 3]
    site.script.gate.set()

    def crowd(number: int) -> None:
        for turn in range(50):
            found = site.waits.enter(f"d{number % 3}._device.example.net", str(number))
            if not isinstance(found, Wait):
                outcomes.append(type(found).__name__)
                continue
            if turn % 10 == 9:
                site.lookups.flush()
            assert woken(found)
            left = site.waits.leave(found.text)
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

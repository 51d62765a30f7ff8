"""How many requests may wait for domains that answer, do not answer, or are unknown."""

from __future__ import annotations

import pytest

from dane_radius.dns.domains import Domain, Domains, WaitLimits

LIMITS = WaitLimits(max_waiting=32, max_waiting_per_slow_domain=4, slow_after=1.0, max_lookups_per_slow_domain=6)


@pytest.fixture
def domains() -> Domains:
    return Domains(LIMITS)


def wait(domains: Domains, domain: Domain, now: float, count: int) -> int:
    """Start up to `count` waits; returns how many were within the limits."""
    for number in range(count):
        if domains.limit_reached(domain, now) is not None:
            return number
        domains.wait_started(domain)
    return count


def dead(domains: Domains, name: str, since: float = 0.0) -> Domain:
    domain = domains.get(name)
    domains.lookup_started(domain, object(), since)
    return domain


def healthy(domains: Domains, name: str, now: float = 0.0) -> Domain:
    domain = domains.get(name)
    lookup = object()
    domains.lookup_started(domain, lookup, now - 0.05)
    domains.lookup_ended(domain, lookup, now, answered=True)
    return domain


def test_a_domain_is_slow_only_while_its_lookups_go_unanswered(domains: Domains) -> None:
    domain, first, second = domains.get("d.example"), object(), object()
    assert not domain.is_slow(100.0, LIMITS)
    domains.lookup_started(domain, first, 100.0)
    domains.lookup_started(domain, second, 100.5)
    assert not domain.is_slow(101.0, LIMITS)
    assert domain.is_slow(101.1, LIMITS)
    # One answer is enough, even while the lookup of another name is under way.
    domains.lookup_ended(domain, second, 101.2, answered=True)
    assert not domain.is_slow(101.2, LIMITS)
    assert not domain.is_slow(102.2, LIMITS)
    assert domain.is_slow(102.3, LIMITS), "the first lookup is under way, and there was no answer for a second"
    domains.lookup_started(domain, third := object(), 102.4)
    domains.lookup_ended(domain, third, 102.5, answered=True)
    assert not domain.is_slow(102.6, LIMITS)
    domains.lookup_ended(domain, first, 103.0, answered=False)
    assert not domain.is_slow(103.5, LIMITS), "one lookup failed, while others were answered"
    domains.lookup_started(domain, first, 103.6)
    domains.lookup_ended(domain, first, 104.6, answered=False)
    assert domain.is_slow(104.7, LIMITS), "the last lookup was not answered"
    assert not domain.is_slow(104.6 + 61, LIMITS), "the state lasts a minute"
    third = object()
    domains.lookup_started(domain, third, 110.0)
    domains.lookup_ended(domain, third, 110.1, answered=True)
    assert not domain.is_slow(110.1, LIMITS)


def test_a_late_failure_makes_a_domain_slow(domains: Domains) -> None:
    domain, lookup = domains.get("d.example"), object()
    domains.lookup_started(domain, lookup, 5.0)
    domains.lookup_ended(domain, lookup, 5.4, answered=False)
    assert domain.is_slow(5.5, LIMITS)


def test_an_immediate_failure_does_not_make_a_domain_slow(domains: Domains) -> None:
    domain, lookup = domains.get("d.example"), object()
    domains.lookup_started(domain, lookup, 5.0)
    domains.lookup_ended(domain, lookup, 5.01, answered=False)
    assert not domain.is_slow(5.02, LIMITS)
    assert wait(domains, domain, 5.02, 24) == 24


def test_a_domain_that_answers_may_use_every_place(domains: Domains) -> None:
    domain = healthy(domains, "good.example", now=10.0)
    assert wait(domains, domain, 10.1, 100) == 32
    assert "32 requests wait for the DNS" in str(domains.limit_reached(domain, 10.1))
    domains.wait_ended(domain)
    assert domains.limit_reached(domain, 10.1) is None


def test_unknown_domains_may_use_three_quarters_of_the_places(domains: Domains) -> None:
    unknown, good = domains.get("new.example"), healthy(domains, "good.example", now=10.0)
    domains.lookup_started(unknown, object(), 10.0)
    assert wait(domains, unknown, 10.1, 100) == 24
    assert wait(domains, good, 10.1, 100) == 8


def test_a_dead_domain_affects_only_its_own_devices(domains: Domains) -> None:
    domain, good = dead(domains, "dead.example"), healthy(domains, "good.example", now=2.0)
    assert wait(domains, domain, 2.0, 100) == 4
    assert "dead.example does not answer" in str(domains.limit_reached(domain, 2.0))
    assert wait(domains, good, 2.0, 100) == 28
    # After its first answer it has the limits of any other domain.
    domains.lookup_ended(domain, next(iter(domain.under_way)), 2.1, answered=True)
    domains.wait_ended(good)
    assert domains.limit_reached(domain, 2.1) is None


def test_all_dead_domains_together_may_use_an_eighth_of_the_places(domains: Domains) -> None:
    waiting = sum(wait(domains, dead(domains, f"_device.dead{number}.example"), 2.0, 3) for number in range(200))
    assert waiting == domains.waiting == domains.waiting_for_slow(2.0) == 4
    assert wait(domains, domains.get("new.example"), 2.0, 100) == 20
    assert wait(domains, healthy(domains, "good.example", now=2.0), 2.0, 100) == 8
    assert len(domains.slow(2.0)) == 200


def test_a_slow_domain_has_few_lookups_under_way(domains: Domains) -> None:
    domain = domains.get("d.example")
    for _ in range(20):
        assert domains.may_look_up(domain, 0.5)
        domains.lookup_started(domain, object(), 0.5)
    assert not domains.may_look_up(domain, 1.6)
    domains.lookup_ended(domain, next(iter(domain.under_way)), 1.7, answered=True)
    assert domains.may_look_up(domain, 1.7)


def test_idle_domains_are_evicted_and_others_are_not(domains: Domains, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dane_radius.dns.domains._MAX_DOMAINS", 10)
    busy = dead(domains, "busy.example")
    for number in range(50):
        domains.get(f"d{number}.example")
    assert domains.get("busy.example") is busy
    assert len(domains._domains) <= 11

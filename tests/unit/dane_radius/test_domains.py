"""Which requests may wait, when domains answer, do not answer, or are not known."""

from __future__ import annotations

import pytest

from dane_radius.dns.domains import Domain, Domains, WaitLimits

LIMITS = WaitLimits(places=32, places_of_slow_domain=4, slow_after=1.0, lookups_of_slow_domain=6)


@pytest.fixture
def domains() -> Domains:
    return Domains(LIMITS)


def wait(domains: Domains, domain: Domain, now: float, count: int) -> int:
    """Let up to `count` requests wait; returns how many may."""
    for number in range(count):
        if domains.may_wait(domain, now) is not None:
            return number
        domains.entered(domain)
    return count


def dead(domains: Domains, name: str, since: float = 0.0) -> Domain:
    domain = domains.of(name)
    domains.started(domain, object(), since)
    return domain


def healthy(domains: Domains, name: str, now: float = 0.0) -> Domain:
    domain = domains.of(name)
    lookup = object()
    domains.started(domain, lookup, now - 0.05)
    domains.ended(domain, lookup, now, answered=True)
    return domain


def test_a_domain_is_slow_only_while_its_lookups_go_unanswered(domains: Domains) -> None:
    domain, first, second = domains.of("d.example"), object(), object()
    assert not domain.is_slow(100.0, LIMITS)
    domains.started(domain, first, 100.0)
    domains.started(domain, second, 100.5)
    assert not domain.is_slow(101.0, LIMITS)
    assert domain.is_slow(101.1, LIMITS)
    # One answer is enough, even with another name's lookup still open.
    domains.ended(domain, second, 101.2, answered=True)
    assert not domain.is_slow(101.2, LIMITS)
    assert not domain.is_slow(102.2, LIMITS)
    assert domain.is_slow(102.3, LIMITS), "the first one is open, and nothing was heard for a second"
    domains.started(domain, third := object(), 102.4)
    domains.ended(domain, third, 102.5, answered=True)
    assert not domain.is_slow(102.6, LIMITS)
    domains.ended(domain, first, 103.0, answered=False)
    assert not domain.is_slow(103.5, LIMITS), "one name's failure among the answers of others"
    domains.started(domain, first, 103.6)
    domains.ended(domain, first, 104.6, answered=False)
    assert domain.is_slow(104.7, LIMITS), "the last thing known is that it did not answer"
    assert not domain.is_slow(104.6 + 61, LIMITS), "that is forgotten after a while"
    third = object()
    domains.started(domain, third, 110.0)
    domains.ended(domain, third, 110.1, answered=True)
    assert not domain.is_slow(110.1, LIMITS)


def test_a_server_that_the_resolver_gives_up_makes_a_domain_slow(domains: Domains) -> None:
    domain, lookup = domains.of("d.example"), object()
    domains.started(domain, lookup, 5.0)
    domains.ended(domain, lookup, 5.4, answered=False)
    assert domain.is_slow(5.5, LIMITS)


def test_a_failure_that_comes_at_once_makes_no_domain_slow(domains: Domains) -> None:
    domain, lookup = domains.of("d.example"), object()
    domains.started(domain, lookup, 5.0)
    domains.ended(domain, lookup, 5.01, answered=False)
    assert not domain.is_slow(5.02, LIMITS)
    assert wait(domains, domain, 5.02, 24) == 24


def test_a_domain_that_answers_may_use_every_place(domains: Domains) -> None:
    domain = healthy(domains, "good.example", now=10.0)
    assert wait(domains, domain, 10.1, 100) == 32
    assert "32 requests wait for the DNS" in str(domains.may_wait(domain, 10.1))
    domains.left(domain)
    assert domains.may_wait(domain, 10.1) is None


def test_an_unknown_domain_leaves_a_quarter_to_those_that_answer(domains: Domains) -> None:
    unknown, good = domains.of("new.example"), healthy(domains, "good.example", now=10.0)
    domains.started(unknown, object(), 10.0)
    assert wait(domains, unknown, 10.1, 100) == 24
    assert wait(domains, good, 10.1, 100) == 8


def test_a_dead_domain_costs_its_own_devices_alone(domains: Domains) -> None:
    domain, good = dead(domains, "dead.example"), healthy(domains, "good.example", now=2.0)
    assert wait(domains, domain, 2.0, 100) == 4
    assert "dead.example does not answer" in str(domains.may_wait(domain, 2.0))
    assert wait(domains, good, 2.0, 100) == 28
    # Its first answer makes it like any other.
    domains.ended(domain, next(iter(domain.under_way)), 2.1, answered=True)
    domains.left(good)
    assert domains.may_wait(domain, 2.1) is None


def test_many_dead_domains_share_an_eighth_and_new_ones_still_get_in(domains: Domains) -> None:
    waiting = sum(wait(domains, dead(domains, f"_device.dead{number}.example"), 2.0, 3) for number in range(200))
    assert waiting == domains.waiting == domains.waiting_for_slow(2.0) == 4
    assert wait(domains, domains.of("new.example"), 2.0, 100) == 20
    assert wait(domains, healthy(domains, "good.example", now=2.0), 2.0, 100) == 8
    assert len(domains.slow(2.0)) == 200


def test_a_slow_domain_has_few_lookups_under_way(domains: Domains) -> None:
    domain = domains.of("d.example")
    for _ in range(20):
        assert domains.may_start(domain, 0.5)
        domains.started(domain, object(), 0.5)
    assert not domains.may_start(domain, 1.6)
    domains.ended(domain, next(iter(domain.under_way)), 1.7, answered=True)
    assert domains.may_start(domain, 1.7)


def test_what_is_known_of_idle_domains_is_forgotten_in_the_end(
    domains: Domains, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dane_radius.dns.domains._MAX_DOMAINS", 10)
    busy = dead(domains, "busy.example")
    for number in range(50):
        domains.of(f"d{number}.example")
    assert domains.of("busy.example") is busy
    assert len(domains._domains) <= 11

"""When a discovered anchor is retired."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core import AnchorRecord, AnchorSource
from tests.harness.pki import Authority
from tests.unit.trust_sync.discovery_world import (
    DOMAIN,
    NEW,
    NOW,
    OLD,
)
from trust_sync.anchors import Holding, retire


def record(ca: Authority, source: AnchorSource, *domains: str, age: float = 0) -> AnchorRecord:
    return AnchorRecord(ca.fingerprint, "f.pem", "CN=x", "", domains, source, NOW - timedelta(seconds=age), NOW)


def test_of_two_cas_without_backing_the_later_one_stays_with_live_sessions() -> None:
    records = [record(OLD, AnchorSource.DANE_TA, DOMAIN, age=50), record(NEW, AnchorSource.PKIX_CD, DOMAIN)]
    since = {Holding(ca.fingerprint, DOMAIN): 0.0 for ca in (OLD, NEW)}
    retirement = retire(records, set(), since, {DOMAIN}, lambda domain: records, 1000.0, 100.0)
    assert retirement.ended == (Holding(OLD.fingerprint, DOMAIN),)
    assert retirement.unbacked == {Holding(NEW.fingerprint, DOMAIN): 1000.0}


def test_each_domain_of_an_anchor_is_judged_by_itself() -> None:
    records = [record(OLD, AnchorSource.DANE_TA, "_a.example.net", "_b.example.net")]
    backed = {Holding(OLD.fingerprint, "_b.example.net")}
    retirement = retire(records, backed, {}, set(), lambda domain: records, 5.0, 0.0)
    assert retirement.ended == (Holding(OLD.fingerprint, "_a.example.net"),)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_a_clock_that_steps_back_retires_nothing_early(began: float, now: float) -> None:
    records = [record(OLD, AnchorSource.DANE_TA, DOMAIN)]
    holding = Holding(OLD.fingerprint, DOMAIN)
    retirement = retire(records, set(), {holding: began}, set(), lambda domain: [], now, 100.0)
    assert bool(retirement.ended) == (now - began >= 100.0)


@pytest.mark.parametrize("source", [AnchorSource.REGISTRY, AnchorSource.MANUAL])
def test_configured_anchors_are_never_retired(source: AnchorSource) -> None:
    records = [record(OLD, source, DOMAIN)]
    assert retire(records, set(), {}, set(), lambda domain: records, 1e12, 0.0).ended == ()

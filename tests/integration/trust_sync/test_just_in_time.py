"""A site admits a device at the first connection, without prior knowledge of the device or its CA."""

from __future__ import annotations

import re

import pytest

from tests.harness.pki import authority, self_signed
from tests.integration.trust_sync.conftest import Site

pytestmark = pytest.mark.daemons


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_pkix_cd_first_connection_first_success(site: Site, tls: str) -> None:
    ca = authority(f"Roaming vendor CA {tls}")
    # Each run has its own domain, so it does not find the CA of another.
    domain = {"1.2": "_roam", "1.3": "_device"}[tls]
    name = site.name(domain)
    device = ca.issue(name)
    site.publish(name, device.tlsa(4, 0, 0))
    site.web.publish_ca(ca)
    result = site.authenticate(device, name, tls=tls)
    decision = site.radius.decision_for(result.station)
    assert result.accepted, decision
    assert decision["reason"] == "dane_match"
    assert decision["evidence"]["matched"].startswith("4 0 0")
    found = site.sync.events("discovery")[-1]
    assert found["source"] == "pkix-cd"
    print(f"discovered in {found['milliseconds']} ms, admitted in {result.seconds * 1000:.0f} ms")


def test_dane_ta_first_connection_first_success(site: Site) -> None:
    ca = authority("Private CA")
    name = site.name("_ta")
    device = ca.issue(name)
    site.publish(name, ca.tlsa(2, 0, 0))
    result = site.authenticate(device, f"anonymous@{name}")
    decision = site.radius.decision_for(result.station)
    assert result.accepted, decision
    assert decision["evidence"]["matched"].startswith("2 0 0")
    found = site.sync.events("discovery")[-1]
    print(f"discovered in {found['milliseconds']} ms, admitted in {result.seconds * 1000:.0f} ms")


def test_a_self_signed_device_first_connection_first_success(site: Site) -> None:
    for _ in range(2):
        # The second device, too: the first one's certificate does not apply to it.
        name = site.name("_self")
        device = self_signed(name)
        site.publish(name, device.tlsa(3, 0, 0))
        result = site.authenticate(device, name)
        decision = site.radius.decision_for(result.station)
        assert result.accepted, decision
        assert decision["evidence"]["matched"].startswith("3 0 0")
        # At the second connection, it is known.
        before = site.radius.metric('dane_radius_hints_total{result="held"}')
        assert site.authenticate(device, name).accepted
        assert site.radius.metric('dane_radius_hints_total{result="held"}') == before + 1


def test_a_digest_alone_leads_nowhere_and_the_device_stays_out(site: Site) -> None:
    name = site.name("_digest")
    device = self_signed(name)
    site.publish(name, device.tlsa(3, 1, 1))
    result = site.authenticate(device, name)
    assert not result.accepted
    assert site.sync.events("discovery")[-1]["reason"] == "no_certificate_in_dns"


def test_the_module_is_called_once_per_conversation_for_the_identity(site: Site) -> None:
    ca = authority("Counted CA")
    name = site.name("_count")
    device = ca.issue(name)
    site.publish(name, ca.tlsa(2, 0, 0))
    log = site.radius.log
    for tls in ("1.2", "1.3"):
        start = log.stat().st_size
        results = {r: site.radius.metric(f'dane_radius_hints_total{{result="{r}"}}') for r in ("held", "found")}
        assert site.authenticate(device, name, tls=tls).accepted
        text = log.read_bytes()[start:].decode(errors="replace")
        sections = re.findall(
            r"# Executing section authorize from file \S+sites-enabled/dane\n(.*?)# Executing", text, re.S
        )
        assert len(sections) >= 4
        called = ["dane = noop" in section or "[dane] = noop" in section for section in sections]
        assert called == [True] + [False] * (len(sections) - 1)
        after = {r: site.radius.metric(f'dane_radius_hints_total{{result="{r}"}}') for r in ("held", "found")}
        assert sum(after.values()) - sum(results.values()) == 1


def test_a_name_that_policy_does_not_allow_costs_no_lookup(site: Site) -> None:
    name = "x1._denied.iot.example"
    device = self_signed(name)
    for identity in (name, f"@{name}", "x1.camera._device.elsewhere.example", "not a name", "@", "a" * 200):
        result = site.authenticate(device, identity)
        assert not result.accepted
    assert site.unbound.queries_for(name) == 0
    assert site.unbound.queries_for("x1.camera._device.elsewhere.example") == 0


def test_without_the_worker_known_devices_still_get_in(site: Site) -> None:
    ca = authority("Known CA")
    name = site.name("_known")
    device = ca.issue(name)
    site.publish(name, ca.tlsa(2, 0, 0))
    assert site.authenticate(device, name).accepted
    stranger = site.name("_stranger")
    other = self_signed(stranger)
    site.publish(stranger, other.tlsa(3, 0, 0))
    site.sync.stop()
    try:
        assert site.authenticate(device, name).accepted
        before = site.radius.metric('dane_radius_hints_total{result="unavailable"}')
        assert not site.authenticate(other, stranger).accepted
        assert site.radius.metric('dane_radius_hints_total{result="unavailable"}') == before + 1
    finally:
        site.sync.start()
    # The anchors are on disk, so they are there after a restart without a lookup.
    assert site.sync.ask("discover", name=name)["state"] == "known"
    assert site.authenticate(device, name).accepted

"""The anchors that a registry may publish, and those that its snapshot ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dane_radius.core import AnchorRecord, AnchorSource
from tests.harness.pki import authority
from trust_sync.anchors import CertificateRefused
from trust_sync.registries.messages import AnchorMessage
from trust_sync.registries.published_anchor import outdated, read_anchor
from trust_sync.shared import RegistryConfig

NOW = datetime.now(UTC)
CA = authority("Vendor CA")
DEVICE = CA.issue("a1.camera._device.example.net")


REGISTRY = RegistryConfig(name="home", url="https://r.example", api_key_file="/k", domains=["example.net"])


def test_a_registry_speaks_for_its_domains_only() -> None:
    assert read_anchor(AnchorMessage(pem=CA.pem.decode()), "_device.example.net", REGISTRY, NOW).domain
    # The last one would add a command on Unbound's control socket.
    for domain in ("example.org", "notexample.net", "net", "", "*.example.net", "x\nstop\n.example.net"):
        with pytest.raises(ValueError, match=r"outside of|dNSName"):
            read_anchor(AnchorMessage(pem=CA.pem.decode()), domain, REGISTRY, NOW)


def test_a_registrys_anchor_must_be_a_ca_and_what_it_says_it_is() -> None:
    with pytest.raises(CertificateRefused, match="not a CA"):
        read_anchor(AnchorMessage(pem=DEVICE.pem.decode()), "example.net", REGISTRY, NOW)
    with pytest.raises(CertificateRefused, match="fingerprint"):
        read_anchor(AnchorMessage(pem=CA.pem.decode(), fingerprint="00" * 32), "example.net", REGISTRY, NOW)


def test_a_wrong_clock_keeps_no_registry_anchor_out() -> None:
    message = AnchorMessage(pem=CA.pem.decode(), fingerprint=CA.fingerprint)
    for now in (NOW - timedelta(days=9000), NOW + timedelta(days=9000)):
        assert read_anchor(message, "example.net", REGISTRY, now).certificate.der == CA.der


def record(fingerprint: str, *domains: str, source: AnchorSource = AnchorSource.REGISTRY) -> AnchorRecord:
    return AnchorRecord(fingerprint, "f.pem", "CN=x", "", domains, source, NOW, NOW)


def test_a_snapshot_ends_what_it_no_longer_has_and_only_what_is_the_registrys() -> None:
    wanted = {read_anchor(AnchorMessage(pem=CA.pem.decode()), "example.net", REGISTRY, NOW).key}
    held = [
        record(CA.fingerprint, "example.net", "a.example.net", "example.org"),
        record("1" * 64, "example.net"),
        record("2" * 64, "example.org"),
        record("3" * 64, "example.net", source=AnchorSource.DANE_TA),
        record("4" * 64, "example.net", source=AnchorSource.MANUAL),
    ]
    assert outdated(held, REGISTRY, wanted) == [(CA.fingerprint, ["a.example.net"]), ("1" * 64, ["example.net"])]

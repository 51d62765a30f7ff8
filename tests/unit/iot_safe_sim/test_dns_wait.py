"""Which TLSA record vouches for a certificate, and how a resolver is named."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iot_safe_sim.dns_wait import Resolver, ResolverAddressError, TlsaState, TlsaWait, identity_domain, vouches
from tests.harness.pki import authority

CA = authority("CA")
DEVICE = CA.issue("device.example.net")
OTHER = CA.issue("other.example.net")


def data(which: str, selector: int, matching_type: int) -> bytes:
    certificate = {"device": DEVICE, "ca": CA, "other": OTHER}[which].certificate
    content = (
        certificate.public_bytes(Encoding.DER)
        if selector == 0
        else certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    return {0: content, 1: hashlib.sha256(content).digest(), 2: hashlib.sha512(content).digest()}[matching_type]


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching_type", [0, 1, 2])
@pytest.mark.parametrize(
    ("usage", "which", "expected"),
    [
        (0, "ca", True),
        (0, "device", False),
        (1, "device", True),
        (1, "ca", False),
        (2, "ca", True),
        (2, "device", False),
        (3, "device", True),
        (3, "ca", False),
        (3, "other", False),
        (4, "device", True),
        (4, "ca", True),
        (4, "other", False),
        (5, "device", False),
    ],
)
def test_every_usage(usage: int, which: str, expected: bool, selector: int, matching_type: int) -> None:
    found = vouches(
        usage, selector, matching_type, data(which, selector, matching_type), DEVICE.certificate, [CA.certificate]
    )
    assert found is expected


def test_unknown_selectors_matching_types_and_cut_digests() -> None:
    digest = data("device", 1, 1)
    assert vouches(3, 1, 1, digest, DEVICE.certificate, [])
    for selector, matching_type, value in ((2, 1, digest), (1, 3, digest), (1, 1, digest[:-1]), (1, 1, b"")):
        assert not vouches(3, selector, matching_type, value, DEVICE.certificate, [])


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1", "127.0.0.1", 53),
        ("127.0.0.1:5353", "127.0.0.1", 5353),
        ("::1", "::1", 53),
        ("[::1]:5353", "::1", 5353),
        ("[::1]", "::1", 53),
    ],
)
def test_resolver_addresses(text: str, host: str, port: int) -> None:
    assert Resolver.parse(text) == Resolver(host, port)


@pytest.mark.parametrize("text", ["", "localhost", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "1.2.3:53", "[::1"])
def test_what_is_not_a_resolver_address(text: str) -> None:
    with pytest.raises(ResolverAddressError, match="expected ADDRESS"):
        Resolver.parse(text + ("" if text != "[::1" else ":x"))


def test_waiting_gives_up_in_time_and_says_why() -> None:
    """Nobody listens there. The clock is the test's: no real time passes."""
    now = [0.0]
    seen: list[TlsaState] = []
    wait = TlsaWait(
        Resolver("127.0.0.1", 1, timeout=0.02),
        10.0,
        progress=lambda state, seconds: seen.append(state),
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        clock=lambda: now[0],
    )
    assert wait.wait("device.example.net", DEVICE.certificate, []) is TlsaState.UNAVAILABLE
    assert seen == [TlsaState.UNAVAILABLE]
    assert 5.0 < now[0] <= 10.0


def test_a_long_wait_says_that_it_goes_on() -> None:
    now = [0.0]
    told: list[float] = []
    wait = TlsaWait(
        Resolver("127.0.0.1", 1, timeout=0.02),
        60.0,
        progress=lambda state, seconds: told.append(seconds),
        sleep=lambda seconds: now.__setitem__(0, now[0] + seconds),
        clock=lambda: now[0],
    )
    assert wait.wait("device.example.net", DEVICE.certificate, []) is TlsaState.UNAVAILABLE
    assert told[0] == 0.0
    assert 4 <= len(told) <= 7
    assert all(later - earlier >= 10.0 for earlier, later in pairwise(told))


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("a1b2c3.camera._device.example.net", "example.net"),
        ("A1B2C3.Camera._Device.Home.Example", "home.example"),
        ("device.example.net", "example.net"),
    ],
)
def test_the_identity_domain_of_a_name(name: str, domain: str) -> None:
    assert identity_domain(name) == domain


def test_a_resolver_that_is_not_there_is_known_before_any_wait() -> None:
    complaints: list[str] = []
    wait = TlsaWait(Resolver("127.0.0.1", 1), 120.0, complain=complaints.append)
    checked = wait.checked("a.camera._device.example.net")
    assert checked.timeout == 0.0
    assert complaints == ["the resolver 127.0.0.1:1 does not answer (Connection refused), expected a validating one"]
    # Asked once, it gives up: nothing is slept through.
    assert (
        replace(checked, sleep=lambda seconds: pytest.fail("it waited")).wait(
            "a.camera._device.example.net", DEVICE.certificate, []
        )
        is TlsaState.UNAVAILABLE
    )

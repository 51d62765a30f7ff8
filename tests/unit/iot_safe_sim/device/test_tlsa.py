"""Which TLSA record matches a certificate."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iot_safe_sim.device.tlsa import tlsa_matches
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
    found = tlsa_matches(
        usage, selector, matching_type, data(which, selector, matching_type), DEVICE.certificate, [CA.certificate]
    )
    assert found is expected


def test_unknown_selectors_matching_types_and_cut_digests() -> None:
    digest = data("device", 1, 1)
    assert tlsa_matches(3, 1, 1, digest, DEVICE.certificate, [])
    for selector, matching_type, value in ((2, 1, digest), (1, 3, digest), (1, 1, digest[:-1]), (1, 1, b"")):
        assert not tlsa_matches(3, selector, matching_type, value, DEVICE.certificate, [])

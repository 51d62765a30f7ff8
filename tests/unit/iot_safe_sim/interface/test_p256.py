"""Points and signatures of P-256."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from iot_safe_sim.interface import der_to_raw, point_of, public_key, raw_to_der, verify_signature
from tests.unit.iot_safe_sim.support import key_pair, raw_signature

DIGEST = hashlib.sha256(b"data").digest()


def test_a_point_and_its_key() -> None:
    _key, point = key_pair()
    assert point_of(public_key(point)) == point


@pytest.mark.parametrize("size", [32, 48, 64])
def test_a_signature_verifies_with_its_own_digest_and_key_only(size: int) -> None:
    key, point = key_pair()
    digest = bytes(range(size))
    signature = raw_signature(key, digest)
    assert verify_signature(point, digest, signature)
    assert not verify_signature(point, bytes(size), signature)
    assert not verify_signature(key_pair()[1], digest, signature)


def test_wrong_sizes_and_points_are_errors() -> None:
    key, point = key_pair()
    signature = raw_signature(key, DIGEST)
    with pytest.raises(ValueError, match="signature of 63 bytes"):
        verify_signature(point, DIGEST, signature[:-1])
    with pytest.raises(ValueError, match="digest of 31 bytes"):
        verify_signature(point, DIGEST[:-1], signature)
    with pytest.raises(ValueError, match="public key of 64 bytes"):
        verify_signature(point[:-1], DIGEST, signature)
    with pytest.raises(ValueError, match=r"(?i)curve|point|invalid"):
        verify_signature(b"\x04" + bytes(64), DIGEST, signature)


def test_leading_zeros_come_and_go_with_der() -> None:
    raw = bytes(3) + b"\x7f" * 29 + bytes(1) + b"\xff" * 31
    assert der_to_raw(raw_to_der(raw)) == raw


def test_what_is_no_signature_of_p256() -> None:
    with pytest.raises(ValueError, match=r"(?i)parse|asn\.?1"):
        der_to_raw(b"\x30\x03abc")
    with pytest.raises(OverflowError):
        der_to_raw(encode_dss_signature(1 << 256, 1))

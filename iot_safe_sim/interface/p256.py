"""NIST P-256 as the card's interface carries it: uncompressed points, and signatures as r and s of 32 bytes each."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

#: Bytes of an uncompressed point (SEC 1 section 2.3.3): 04, X, Y.
POINT_SIZE = 65
COORDINATE_SIZE = 32
SIGNATURE_SIZE = 64
_HASH_BY_SIZE: dict[int, hashes.HashAlgorithm] = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}


def public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """The public key of an uncompressed point. Raises ValueError for anything that is not on the curve."""
    if len(point) != POINT_SIZE or point[0] != 4:
        raise ValueError(f"public key of {len(point)} bytes: expected 65 bytes that start with 04")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """The uncompressed point of a public key."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def prehashed(digest: bytes) -> ec.ECDSA:
    """ECDSA over a digest that is already made. Raises ValueError when it has not the size of a SHA-2 digest."""
    if len(digest) not in _HASH_BY_SIZE:
        raise ValueError(f"digest of {len(digest)} bytes: expected 32, 48 or 64")
    return ec.ECDSA(Prehashed(_HASH_BY_SIZE[len(digest)]))


def verify_signature(point: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether `signature` (r, s) over `digest` is right. Raises ValueError for a wrong point or size."""
    if len(signature) != SIGNATURE_SIZE:
        raise ValueError(f"signature of {len(signature)} bytes, expected {SIGNATURE_SIZE}")
    try:
        public_key(point).verify(raw_to_der(signature), digest, prehashed(digest))
    except InvalidSignature:
        return False
    return True


def raw_to_der(signature: bytes) -> bytes:
    """An ECDSA-Sig-Value (DER, RFC 3279 section 2.2.3) from r and s of equal length."""
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def der_to_raw(signature: bytes) -> bytes:
    """r and s from an ECDSA-Sig-Value. Raises ValueError or OverflowError when it is not a P-256 signature."""
    r, s = decode_dss_signature(signature)
    return r.to_bytes(COORDINATE_SIZE, "big") + s.to_bytes(COORDINATE_SIZE, "big")

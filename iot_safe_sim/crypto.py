"""Pure cryptographic functions of the applet: derivation, verification, and the encodings of keys and
signatures.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from iot_safe_sim import tlv
from iot_safe_sim.keystore import public_key

#: Tag 91: hash algorithms by their number.
HASHES = {0x0001: "sha256", 0x0002: "sha384", 0x0004: "sha512"}
_PREHASHED: dict[int, hashes.HashAlgorithm] = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}
SIGNATURE_SIZE = 64
#: SEC 1 section 2.3.3: 02 or 03, and X.
COMPRESSED_SIZE = 33


def tls12_prf(secret: bytes, label_and_seed: bytes, length: int) -> bytes:
    """P_SHA256 of RFC 5246 section 5: `length` bytes."""
    output = b""
    link = label_and_seed
    while len(output) < length:
        link = hmac.digest(secret, link, "sha256")
        output += hmac.digest(secret, link + label_and_seed, "sha256")
    return output[:length]


def psk_premaster_secret(psk: bytes, other: bytes | None) -> bytes:
    """The premaster secret of TLS-PSK (RFC 4279 section 2): `other` is the ECDH result, or None for plain
    PSK.
    """
    other = bytes(len(psk)) if other is None else other
    return len(other).to_bytes(2, "big") + other + len(psk).to_bytes(2, "big") + psk


def hkdf_extract(hash_name: str, salt: bytes, key_material: bytes) -> bytes:
    """HKDF-Extract (RFC 5869 section 2.2). An empty salt is a block of zeros, as HMAC pads it."""
    return hmac.digest(salt, key_material, hash_name)


def verify(point: bytes, digest: bytes, signature: bytes) -> bool:
    """Check a raw r, s signature over `digest`. Raises ValueError when `point` or the sizes are wrong."""
    if len(signature) != SIGNATURE_SIZE:
        raise ValueError(f"signature of {len(signature)} bytes, expected {SIGNATURE_SIZE}")
    if len(digest) not in _PREHASHED:
        raise ValueError(f"digest of {len(digest)} bytes, expected 32, 48 or 64")
    try:
        public_key(point).verify(raw_to_der(signature), digest, ec.ECDSA(Prehashed(_PREHASHED[len(digest)])))
    except InvalidSignature:
        return False
    return True


def raw_to_der(signature: bytes) -> bytes:
    """ECDSA-Sig-Value from r, s of equal length."""
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def der_to_raw(signature: bytes) -> bytes:
    """r, s of 32 bytes each from an ECDSA-Sig-Value. Raises ValueError or OverflowError when it is not one of
    P-256.
    """
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def encode_public_key(point: bytes) -> bytes:
    """The public key object: 34 { 49 { 86 point } }."""
    return tlv.encode(0x34, tlv.encode(0x49, tlv.encode(0x86, point)))


def decode_public_key(data: bytes) -> bytes:
    """The point in a public key object, uncompressed and checked to be on the curve. Raises ValueError (TlvError is
    one).
    """
    outer = tlv.Fields.parse(data, {0x34}).require(0x34)
    inner = tlv.Fields.parse(outer, {0x49}).require(0x49)
    point = tlv.Fields.parse(inner, {0x86}).require(0x86)
    if len(point) == COMPRESSED_SIZE:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    public_key(point)
    return point


def encode_signature(signature: bytes, *, wide_length: bool) -> bytes:
    """The signature object: 33 with a 16-bit length (`wide_length`) or an 8-bit one."""
    if wide_length:
        return bytes([tlv.SIGNATURE_TAG]) + len(signature).to_bytes(2, "big") + signature
    return tlv.encode(tlv.SIGNATURE_TAG, signature)


def digest(hash_name: str, data: bytes) -> bytes:
    """Hash `data`."""
    return hashlib.new(hash_name, data).digest()

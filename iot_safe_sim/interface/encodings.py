"""The public key object and the signature object: the two values with a structure of their own."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec

from iot_safe_sim.interface import p256
from iot_safe_sim.interface.tags import Tag
from iot_safe_sim.interface.tlv import Fields, encode_tlv

#: Bytes of a compressed point (SEC 1 section 2.3.3): 02 or 03, X.
COMPRESSED_POINT_SIZE = 33


def encode_public_key(point: bytes) -> bytes:
    """The public key object: 34 { 49 { 86 point } }."""
    return encode_tlv(Tag.PUBLIC_KEY, encode_tlv(Tag.EC_PUBLIC_KEY, encode_tlv(Tag.EC_POINT, point)))


def decode_public_key(data: bytes) -> bytes:
    """The point in a public key object, uncompressed and checked to be on the curve.

    Raises ValueError, of which TlvError is a kind.
    """
    outer = Fields.parse(data, {Tag.PUBLIC_KEY}).require(Tag.PUBLIC_KEY)
    inner = Fields.parse(outer, {Tag.EC_PUBLIC_KEY}).require(Tag.EC_PUBLIC_KEY)
    point = Fields.parse(inner, {Tag.EC_POINT}).require(Tag.EC_POINT)
    if len(point) == COMPRESSED_POINT_SIZE:
        return p256.point_of(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
    p256.public_key(point)
    return point


def encode_signature(signature: bytes, *, wide_length: bool) -> bytes:
    """The signature object: 33 with a 16-bit length (`wide_length`) or with an 8-bit one."""
    if wide_length:
        return bytes([Tag.SIGNATURE]) + len(signature).to_bytes(2, "big") + signature
    return encode_tlv(Tag.SIGNATURE, signature)

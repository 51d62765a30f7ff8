"""Key derivation for TLS: pure functions over secrets that the card holds or the client sends."""

from __future__ import annotations

import hmac


def tls12_prf(secret: bytes, label_and_seed: bytes, length: int) -> bytes:
    """P_SHA256 of RFC 5246 section 5: `length` bytes."""
    output = b""
    link = label_and_seed
    while len(output) < length:
        link = hmac.digest(secret, link, "sha256")
        output += hmac.digest(secret, link + label_and_seed, "sha256")
    return output[:length]


def psk_premaster_secret(psk: bytes, other: bytes | None) -> bytes:
    """The premaster secret of TLS-PSK (RFC 4279 section 2). `other` is the ECDH result, or None for plain PSK."""
    other = bytes(len(psk)) if other is None else other
    return len(other).to_bytes(2, "big") + other + len(psk).to_bytes(2, "big") + psk


def hkdf_extract(hash_name: str, salt: bytes, key_material: bytes) -> bytes:
    """HKDF-Extract (RFC 5869 section 2.2). An empty salt means a block of zeros, to which HMAC pads it."""
    return hmac.digest(salt, key_material, hash_name)

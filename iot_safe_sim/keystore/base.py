"""The one interface through which the applet uses keys. A private key goes in nowhere and comes
out nowhere.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

POINT_SIZE = 65
COORDINATE_SIZE = 32


class KeyStoreError(Exception):
    """The key store refused or failed; the text says at what."""


class UnknownKeyError(KeyStoreError):
    """The handle names no key of this store."""


@dataclass(frozen=True)
class SupplicantKey:
    """How wpa_supplicant gets at a key: a PKCS#11 URI with what it needs, or (software store) a key file."""

    private_key: str
    pin_file: Path | None = None
    environment: tuple[tuple[str, str], ...] = ()


class KeyStore(Protocol):
    """P-256 key pairs and shared secrets, named by opaque handles. Methods raise KeyStoreError."""

    #: Goes into the state file: a card stays with the store that it was made with.
    name: str

    def generate(self, *, persistent: bool) -> tuple[str, bytes]:
        """Make a key pair. Gives its handle and the public point (65 bytes, uncompressed).

        A persistent key is durable when this returns; another one is gone after `close`.
        """

    def sign(self, handle: str, digest: bytes) -> bytes:
        """ECDSA over a digest of 32, 48 or 64 bytes: r and s, 32 bytes each."""

    def agree(self, handle: str, point: bytes) -> bytes:
        """ECDH with a peer's point: the X coordinate, 32 bytes."""

    def store_secret(self, value: bytes) -> str:
        """Keep a shared secret durably. Gives its handle."""

    def secret(self, handle: str) -> bytes:
        """A shared secret's value, for key derivation inside the applet."""

    def destroy(self, handle: str) -> None:
        """Remove a key or secret. Unknown handles are no error: destroying twice is the same as once."""

    def handles(self) -> set[str]:
        """Every durable handle, to find what a crash left behind."""

    def supplicant_key(self, handle: str) -> SupplicantKey:
        """How wpa_supplicant is told to use the key."""

    def close(self) -> None:
        """Give up what the store holds open."""


def new_handle() -> str:
    """A fresh handle: 16 random bytes in hexadecimal."""
    return secrets.token_hex(16)


def public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """A P-256 public key from its uncompressed point. Raises ValueError for anything that is not on the
    curve.
    """
    if len(point) != POINT_SIZE or point[0] != 4:
        raise ValueError(f"public key of {len(point)} bytes: expected 65 bytes that start with 04")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)

"""The interface through which the applet uses keys. No method takes or returns a private key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class KeyStoreError(Exception):
    """The key store refused or failed; the text says during which operation."""


class UnknownKeyError(KeyStoreError):
    """The handle names no key of this store."""


@dataclass(frozen=True)
class SupplicantKey:
    """How wpa_supplicant reaches a key: `private_key` is a PKCS#11 URI or, for the software store, a key file."""

    private_key: str
    #: The file with the token's PIN; None when the key is not in a token.
    pin_file: Path | None = None
    #: Environment variables that wpa_supplicant needs for it.
    environment: tuple[tuple[str, str], ...] = ()


class KeyStore(Protocol):
    """P-256 key pairs and shared secrets, named by opaque handles. Methods raise KeyStoreError."""

    #: Kept in the state file, because a card cannot change its key store.
    name: str

    def generate(self, *, persistent: bool) -> tuple[str, bytes]:
        """Generate a key pair. Returns its handle and the public point (65 bytes, uncompressed).

        A persistent key is durable when this returns. A volatile one is lost by `close`.
        """

    def sign(self, handle: str, digest: bytes) -> bytes:
        """ECDSA over a digest of 32, 48 or 64 bytes: r and s, 32 bytes each."""

    def agree(self, handle: str, point: bytes) -> bytes:
        """ECDH with a peer's point: the X coordinate, 32 bytes."""

    def store_secret(self, value: bytes) -> str:
        """Store a shared secret durably. Returns its handle."""

    def secret(self, handle: str) -> bytes:
        """A shared secret's value, for key derivation inside the applet."""

    def destroy(self, handle: str) -> None:
        """Remove a key or secret. An unknown handle is not an error."""

    def handles(self) -> set[str]:
        """Every durable handle, by which the applet finds keys that a crash left without an object."""

    def supplicant_key(self, handle: str) -> SupplicantKey:
        """How wpa_supplicant reaches the key."""

    def close(self) -> None:
        """Close the store. Volatile keys are lost."""


def new_handle() -> str:
    """A new handle: 16 random bytes in hexadecimal."""
    return secrets.token_hex(16)

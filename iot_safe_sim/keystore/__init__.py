"""Where private keys live: one interface, two implementations."""

from __future__ import annotations

from pathlib import Path

from iot_safe_sim.keystore.base import KeyStore, KeyStoreError, SupplicantKey, UnknownKeyError, public_key
from iot_safe_sim.keystore.software import SoftwareKeyStore

__all__ = [
    "KeyStore",
    "KeyStoreError",
    "SoftwareKeyStore",
    "SupplicantKey",
    "UnknownKeyError",
    "open_key_store",
    "public_key",
]

NAMES = ("softhsm", "software")


def open_key_store(name: str, state: Path) -> KeyStore:
    """Open the key store `name` of the card in `state`. Raises KeyStoreError."""
    if name == "software":
        return SoftwareKeyStore(state / "keys")
    if name == "softhsm":
        # Only here: the software store must work where python-pkcs11 is not installed.
        try:
            from iot_safe_sim.keystore.softhsm import SoftHsmKeyStore
        except ImportError as error:
            raise KeyStoreError(f"key store 'softhsm' needs python-pkcs11: {error}") from error
        return SoftHsmKeyStore(state / "token")
    raise KeyStoreError(f"unknown key store '{name}': expected one of {', '.join(NAMES)}")

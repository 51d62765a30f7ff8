"""Opening a key store by its name."""

from __future__ import annotations

from pathlib import Path

from iot_safe_sim.keystore.base import KeyStore, KeyStoreError
from iot_safe_sim.keystore.software import SoftwareKeyStore

KEY_STORE_NAMES = ("softhsm", "software")
DEFAULT_KEY_STORE = "softhsm"


def open_key_store(name: str, state: Path) -> KeyStore:
    """Open the key store `name` of the card in the state directory `state`. Raises KeyStoreError."""
    if name == "software":
        return SoftwareKeyStore(state / "keys")
    if name == "softhsm":
        # Imported here because the software store must work without python-pkcs11.
        try:
            from iot_safe_sim.keystore.softhsm import SoftHsmKeyStore
        except ImportError as error:
            raise KeyStoreError(f"key store 'softhsm' needs python-pkcs11: {error}") from error
        return SoftHsmKeyStore(state / "token")
    raise KeyStoreError(f"unknown key store '{name}': expected one of {', '.join(KEY_STORE_NAMES)}")

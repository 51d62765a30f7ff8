"""Where private keys live: one interface and two implementations, a SoftHSM2 token and files.

Imports `interface` only. The card imports this room; the device needs its errors and `SupplicantKey`.
"""

from iot_safe_sim.keystore.base import KeyStore, KeyStoreError, SupplicantKey, UnknownKeyError
from iot_safe_sim.keystore.choice import DEFAULT_KEY_STORE, KEY_STORE_NAMES, open_key_store
from iot_safe_sim.keystore.software import SoftwareKeyStore

__all__ = [
    "DEFAULT_KEY_STORE",
    "KEY_STORE_NAMES",
    "KeyStore",
    "KeyStoreError",
    "SoftwareKeyStore",
    "SupplicantKey",
    "UnknownKeyError",
    "open_key_store",
]

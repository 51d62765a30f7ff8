"""The content of a card: its objects and the keys behind them. A change is durable before it is visible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from iot_safe_sim.card.object_store import ObjectStore
from iot_safe_sim.card.objects import PrivateKey, PublicKey, Secret
from iot_safe_sim.interface import AppletError, StatusWord
from iot_safe_sim.keystore import KeyStore, KeyStoreError

log = structlog.get_logger("iot_safe_sim")


class CardContent:
    """The objects (`store`) and the key store (`keys`). `save` makes an object store durable, or raises OSError."""

    def __init__(self, store: ObjectStore, keys: KeyStore, save: Callable[[ObjectStore], None]) -> None:
        self.store = store
        self.keys = keys
        self._save = save
        self._destroy_unreferenced_keys()

    def commit(self, store: ObjectStore) -> None:
        """Make `store` the content: first durable, then visible. Keys that it no longer refers to are destroyed.

        Raises AppletError when it cannot be saved; nothing has changed then.
        """
        if store.to_json() != self.store.to_json():
            try:
                self._save(store)
            except OSError as error:
                log.error("state_not_saved", error=str(error))
                raise AppletError(StatusWord.MEMORY, f"the state could not be saved: {error.strerror}") from error
        abandoned = self.store.handles() - store.handles()
        self.store = store
        for handle in abandoned:
            try:
                self.keys.destroy(handle)
            except KeyStoreError as error:
                # The change itself is done. The next start destroys the key.
                log.warning("old_key_not_destroyed", handle=handle, error=str(error))

    def generate_key(self, key: PrivateKey) -> bytes:
        """Generate a key pair into the container `key` and commit. Returns the public point.

        The new key is durable before the old one is destroyed. Raises AppletError and KeyStoreError.
        """
        handle, point = self.keys.generate(persistent=not key.volatile)
        self._commit_with_key(replace(key, handle=handle, public=point), handle)
        return point

    def store_secret(self, secret: Secret, value: bytes) -> None:
        """Store the value of a shared secret and commit. Raises AppletError and KeyStoreError."""
        handle = self.keys.store_secret(value)
        self._commit_with_key(replace(secret, handle=handle), handle)

    def delete_volatile_keys(self) -> None:
        """Empty the volatile containers, as a card reset does."""
        store = self.store
        keys: list[PrivateKey | PublicKey] = [*store.private_keys.values(), *store.public_keys.values()]
        for key in keys:
            if key.volatile and key.filled:
                store = store.with_object(key.emptied())
        self.commit(store)

    def _commit_with_key(self, item: PrivateKey | Secret, handle: str) -> None:
        try:
            self.commit(self.store.with_object(item))
        except AppletError:
            self.keys.destroy(handle)
            raise

    def _destroy_unreferenced_keys(self) -> None:
        """A crash between generating a key and committing it leaves a key that no object refers to."""
        for handle in self.keys.handles() - self.store.handles():
            self.keys.destroy(handle)
            log.info("stray_key_destroyed", handle=handle)

"""A card in a state directory: the applet with its objects and its key store."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from iot_safe_sim.card.applet import Applet
from iot_safe_sim.card.signature_format import SignatureFormat
from iot_safe_sim.card.state_directory import StateDirectory, key_store_of
from iot_safe_sim.card.state_file import StateError
from iot_safe_sim.card.unprovisioned import unprovisioned_store
from iot_safe_sim.keystore import DEFAULT_KEY_STORE, KeyStore, KeyStoreError, open_key_store


class Card:
    """An open card. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        path: Path,
        *,
        key_store: str | None = None,
        signature_format: SignatureFormat = SignatureFormat.BY_AID,
        administration_open: bool = True,
    ) -> None:
        """Open the card in `path`, or make a new one there. Raises StateError and KeyStoreError.

        `key_store` None means the key store that the card was made with, and for a new card the default.
        """
        self.directory = StateDirectory(path)
        try:
            name = key_store or key_store_of(path) or DEFAULT_KEY_STORE
            store = self.directory.load(unprovisioned_store, key_store=name)
            self.keys: KeyStore = open_key_store(name, path)
        except (StateError, KeyStoreError):
            self.directory.close()
            raise
        self.applet = Applet(
            store,
            self.keys,
            lambda changed: self.directory.save(changed, key_store=name),
            signature_format=signature_format,
            administration_open=administration_open,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the key store, and release the state directory."""
        self.keys.close()
        self.directory.close()

"""A card from its state directory: the applet with its key store, locked and loaded."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from iot_safe_sim import layout
from iot_safe_sim.applet import Applet, SignatureFormat
from iot_safe_sim.keystore import KeyStore, KeyStoreError, open_key_store
from iot_safe_sim.storage import StateDirectory, StateError, key_store_of

DEFAULT_KEY_STORE = "softhsm"


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
        """Open the card in `path`, or make a new one there.

        `key_store` None means what the card was made with, softhsm for a new one. Raises StateError and
        KeyStoreError.
        """
        self.directory = StateDirectory(path)
        try:
            name = key_store or key_store_of(path) or DEFAULT_KEY_STORE
            store = self.directory.load(layout.new_store, key_store=name)
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
        """Close key store and directory."""
        self.keys.close()
        self.directory.close()

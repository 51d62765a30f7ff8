"""The state directory: one applet process at a time, and a state file that survives a crash at any instant."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from iot_safe_sim.card import state_file
from iot_safe_sim.card.object_store import ObjectStore
from iot_safe_sim.card.state_file import StateError
from iot_safe_sim.durable_file import write_atomically

STATE_FILE = "applet.json"
LOCK_FILE = "lock"


class StateDirectory:
    """An open and locked state directory. Use it as a context manager, or call `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"{path}: cannot be used as state directory: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            raise StateError(
                f"{path}: in use by process {holder}; a card has one reader (use --port to go through a running modem)"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def load(self, fresh: Callable[[], ObjectStore], *, key_store: str) -> ObjectStore:
        """The saved object store, or a new one from `fresh`, which is saved, when the directory has none.

        Raises StateError when the file is damaged, has another format, or was made with another key store.
        """
        path = self.path / STATE_FILE
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            store = fresh()
            self.save(store, key_store=key_store)
            return store
        except OSError as error:
            raise StateError(f"{path}: {error.strerror}") from error
        document = state_file.decode(path, raw)
        if document["key_store"] != key_store:
            raise StateError(f"{path}: made with key store '{document['key_store']}', asked for '{key_store}'")
        try:
            return ObjectStore.from_json(document["store"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{path}: not an applet store: {error}") from error

    def save(self, store: ObjectStore, *, key_store: str) -> None:
        """Make `store` the durable state. Raises OSError, and the old state stays then."""
        write_atomically(self.path / STATE_FILE, state_file.encode(store, key_store=key_store))


def key_store_of(path: Path) -> str | None:
    """The name of the key store of the card in `path`, or None when there is no card. Raises StateError."""
    state = path / STATE_FILE
    if not state.exists():
        return None
    try:
        return str(state_file.decode(state, state.read_bytes())["key_store"])
    except OSError as error:
        raise StateError(f"{state}: {error.strerror}") from error

"""The state directory: one applet process at a time, and a state file that a crash at any instant leaves old
or new.

`applet.json` is written to a temporary file, synced, and renamed over the old one; then the directory is
synced. Its checksum tells a damaged file from an empty card, so a device never starts over silently.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from iot_safe_sim.objects import Store

FORMAT = 1
STATE_FILE = "applet.json"
LOCK_FILE = "lock"


class StateError(Exception):
    """The state directory cannot be used; the text says which file, what was found and what to do."""


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `data` so that a crash leaves the old or the new content, never a part. Raises
    OSError.
    """
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename or an unlink in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StateDirectory:
    """An open, locked state directory. Use it as a context manager, or call `close`."""

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

    def load(self, fresh: Callable[[], Store], *, key_store: str) -> Store:
        """The saved store; a new card from `fresh` when the directory has none yet.

        Raises StateError when the file is damaged, of another format, or was made with another key store.
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
        document = decode(path, raw)
        if document["key_store"] != key_store:
            raise StateError(f"{path}: made with key store '{document['key_store']}', asked for '{key_store}'")
        try:
            return Store.from_json(document["store"])
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"{path}: not an applet store: {error}") from error

    def save(self, store: Store, *, key_store: str) -> None:
        """Make `store` the durable state. Raises OSError; the old state is then still there."""
        write_atomically(self.path / STATE_FILE, encode(store, key_store=key_store))


def key_store_of(path: Path) -> str | None:
    """Which key store the card in `path` was made with, or None when there is no card yet. Raises
    StateError.
    """
    state = path / STATE_FILE
    if not state.exists():
        return None
    try:
        return str(decode(state, state.read_bytes())["key_store"])
    except OSError as error:
        raise StateError(f"{state}: {error.strerror}") from error


def encode(store: Store, *, key_store: str) -> bytes:
    """The content of the state file: one line of checksum, then JSON."""
    body = json.dumps({"format": FORMAT, "key_store": key_store, "store": store.to_json()}, indent=1).encode()
    return b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(path: Path, raw: bytes) -> dict[str, Any]:
    """The document in a state file. Raises StateError, naming `path`, unless checksum and format
    are right.
    """
    head, _, body = raw.partition(b"\n")
    if head != b"sha256 " + hashlib.sha256(body).hexdigest().encode():
        raise StateError(f"{path}: damaged (its checksum does not match); restore it, or remove it to start a new card")
    document: dict[str, Any] = json.loads(body)
    if document.get("format") != FORMAT:
        raise StateError(f"{path}: format {document.get('format')!r}, expected {FORMAT}")
    return document

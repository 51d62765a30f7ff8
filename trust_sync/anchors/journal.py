"""The writer of the anchor index, `index.jsonl`: a journal of which each line is one change.

The last newline is the commit point. `dane_radius.core` defines the format and reads it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dane_radius.core import INDEX_FORMAT, INDEX_VERSION, AnchorError, AnchorRecord, parse_index_line
from dane_radius.local import INDEX_FILE
from trust_sync.anchors.held_anchors import HeldAnchors
from trust_sync.shared import sync_folder, write_all

# The journal is rewritten once it has this many lines more than twice its anchors, so the cost per change is constant.
_COMPACT_SLACK = 1000
_HEADER = {"format": INDEX_FORMAT, "version": INDEX_VERSION}
_READ_OCTETS = 1 << 20


class Journal:
    """An open index. Close it when done."""

    def __init__(self, folder: Path) -> None:
        """Open the journal, or begin one. Raises OSError."""
        self._folder, self._path, self._new = folder, folder / INDEX_FILE, folder / f".{INDEX_FILE}.new"
        self._lines = self._size = 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._new)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND, 0o644)
        if os.fstat(self._descriptor).st_size == 0:
            os.fchmod(self._descriptor, 0o644)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read(self) -> dict[str, AnchorRecord]:
        """Read what is in force, by fingerprint. Raises OSError, and AnchorError that names the line."""
        octets = b"".join(iter(lambda: os.read(self._descriptor, _READ_OCTETS), b""))
        whole = octets.rpartition(b"\n")[0]
        end = len(whole) + 1 if whole else 0
        if end != len(octets):
            # The last line has no newline: that change never took effect.
            os.ftruncate(self._descriptor, end)
            os.fsync(self._descriptor)
        self._size = end
        records: dict[str, AnchorRecord] = {}
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                parse_index_line(line, records)
            except AnchorError as error:
                raise AnchorError(f"{INDEX_FILE} line {number}: {error}") from error
            self._lines += 1
        if end == 0:
            self._append(_HEADER)
            sync_folder(self._folder)
        return records

    def add(self, record: AnchorRecord) -> None:
        """Commit a record, in place of the one with the same fingerprint. Raises OSError; nothing has changed then."""
        self._append(_addition(record))

    def remove(self, fingerprint: str) -> None:
        """Commit a removal. Raises OSError; nothing has changed then."""
        self._append({"op": "remove", "fingerprint": fingerprint})

    def _append(self, line: dict[str, Any]) -> None:
        """Append a whole line durably, or nothing. Raises OSError."""
        octets = _encode(line)
        try:
            written = os.write(self._descriptor, octets)
            if written != len(octets):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError:
            # A full disk may have taken a part.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(octets)
        self._lines += 1

    def compact_if_due(self, held: HeldAnchors) -> None:
        """Rewrite the journal if it has become long. A failure is ignored: the next change tries again."""
        if self._lines > 2 * len(held) + _COMPACT_SLACK:
            with contextlib.suppress(OSError):
                self.compact(held)

    def compact(self, records: Iterable[AnchorRecord]) -> None:
        """Rewrite the journal with one line for each record. Raises OSError; the old journal stays then."""
        lines = [_encode(line) for line in (_HEADER, *map(_addition, records))]
        octets = b"".join(lines)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._new, flags, 0o644)
        try:
            os.fchmod(descriptor, 0o644)
            write_all(descriptor, octets)
            os.fsync(descriptor)
            os.rename(self._new, self._path)
        except OSError:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(self._new)
            raise
        os.close(self._descriptor)
        self._descriptor, self._size, self._lines = descriptor, len(octets), len(lines)
        sync_folder(self._folder)


def _addition(record: AnchorRecord) -> dict[str, Any]:
    return {"op": "add", **record.to_json()}


def _encode(line: dict[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"

"""Reads the module's decision log as it grows, over rotations and restarts. Nothing is read that is not asked for."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trust_sync.reports.position import Position

_DECISION = b'"event":"decision"'
_HEAD_OCTETS = 256
# A line of the module has at most 4 KiB. A longer piece without an end is no line of it.
_MAX_LINE_OCTETS = 64 * 1024
_SETTLE_SECONDS = 5.0


@dataclass(frozen=True)
class Batch:
    """Whole lines of one file. end: where they end in the file. decisions: those of the lines that are decisions."""

    identifier: str
    decisions: tuple[bytes, ...]
    end: int


@dataclass
class _File:
    path: Path
    descriptor: int
    inode: int


class LogTail:
    """A decision log. gaps: how often a part of it was gone. Each lost an unknown number of decisions."""

    def __init__(
        self,
        path: str | Path,
        position: Position | None = None,
        *,
        from_end: bool = False,
        settle: float = _SETTLE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """position: where to continue; None: in the present file, at its beginning or, with `from_end`, at its end.

        settle: seconds for which a rotated file is still looked at.
        """
        self._path, self._settle, self._clock = Path(path), settle, clock
        # When the rotation of the open file was noticed.
        self._rotated_at: float | None = None
        self._file: _File | None = None
        self.position = position or Position()
        self._from_end = from_end and position is None
        self.gaps = int(self._from_end)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file.descriptor)
            self._file = None

    def read(self, max_lines: int, max_octets: int) -> Batch | None:
        """The next lines, or those that were under way before a restart. None: there are none now. Raises OSError.

        `take` moves behind them.
        """
        while True:
            if self._file is None and not self._open():
                return None
            batch = self._read_lines(max_lines, max_octets)
            if batch is not None or not self._next_file():
                return batch

    def take(self, batch: Batch) -> None:
        """Move behind a batch."""
        self.position = self._at(batch.end, batch.end)

    def under_way(self, batch: Batch) -> Position:
        """The position to save before a batch is sent."""
        self.position = self._at(self.position.offset, batch.end)
        return self.position

    def lose(self, decisions: int) -> None:
        """Count decisions that are never reported."""
        self.position = Position(**{**vars(self.position), "lost": self.position.lost + decisions})

    def _at(self, offset: int, end: int) -> Position:
        assert self._file is not None
        octets = min(_HEAD_OCTETS, end)
        head = _head(self._file.descriptor, octets)
        return Position(self._file.inode, head, octets, offset, end, self.position.lost)

    def _read_lines(self, max_lines: int, max_octets: int) -> Batch | None:
        assert self._file is not None
        start, resent = self.position.offset, self.position.end > self.position.offset
        if os.fstat(self._file.descriptor).st_size < start:
            # Truncated in its place, as `copytruncate` does. What it had may be lost.
            self.gaps += 1
            self.position = Position(lost=self.position.lost, inode=self._file.inode)
            start, resent = 0, False
        size = self.position.end - start if resent else max_octets
        octets = os.pread(self._file.descriptor, size, start)
        end = octets.rfind(b"\n") + 1
        if not end:
            if len(octets) >= min(max_octets, _MAX_LINE_OCTETS):
                return Batch(self._identifier(start, start + len(octets)), (), start + len(octets))
            return None
        lines = octets[:end].split(b"\n")[:-1]
        if not resent and len(lines) > max_lines:
            lines = lines[:max_lines]
            end = sum(map(len, lines)) + len(lines)
        decisions = tuple(line for line in lines if _DECISION in line)
        return Batch(self._identifier(start, start + end), decisions, start + end)

    def _identifier(self, start: int, end: int) -> str:
        """The same for the same lines of the same file."""
        assert self._file is not None
        head = _head(self._file.descriptor, min(_HEAD_OCTETS, end))
        return hashlib.sha256(f"{self._file.inode} {head} {start} {end}".encode()).hexdigest()[:32]

    def _open(self) -> bool:
        """Open the file to continue in. False: there is none yet."""
        position = self.position
        if position.inode:
            found = next((path for path in self._rotated() if self._is(path, position)), None)
            if found is not None:
                self._file = _open(found)
                return self._file is not None
            self.gaps += 1
        self._file = _open(self._path)
        if self._file is None:
            return False
        offset = os.fstat(self._file.descriptor).st_size if self._from_end else 0
        self._from_end = False
        self.position = self._at(offset, offset)
        return True

    def _has_settled(self) -> bool:
        """Whether the module writes into its new file by now. It notices a rotation within a second or two."""
        now = self._clock()
        if self._rotated_at is None:
            self._rotated_at = now
        return now - self._rotated_at >= self._settle

    def _rotated(self) -> list[Path]:
        """The log and its rotated files that are not compressed, the oldest first."""
        found = []
        for path in self._path.parent.glob(f"{self._path.name}*"):
            try:
                if path.suffix not in (".gz", ".bz2", ".xz", ".zst"):
                    found.append((path == self._path, path.stat().st_mtime_ns, path))
            except OSError:
                continue
        return [path for _, _, path in sorted(found)]

    @staticmethod
    def _is(path: Path, position: Position) -> bool:
        """Whether a file is the one of a position."""
        file = _open(path)
        if file is None:
            return False
        try:
            return file.inode == position.inode and _head(file.descriptor, position.head_octets) == position.head
        finally:
            os.close(file.descriptor)

    def _next_file(self) -> bool:
        """After the end of a file, go on with the next one, if this one was rotated."""
        assert self._file is not None
        files = self._rotated()
        inodes = [_inode(path) for path in files]
        if not files or files[-1] != self._path or inodes[-1] == self._file.inode:
            return False
        after = inodes.index(self._file.inode) + 1 if self._file.inode in inodes else len(files) - 1
        if files[after] == self._path and not self._has_settled():
            return False
        # Everything was read: a line without an end will not get one.
        following = _open(files[after])
        if following is None:
            return False
        self.close()
        self._file, self._rotated_at = following, None
        self.position = self._at(0, 0)
        return True


def _inode(path: Path) -> int:
    """The number of a file; 0 if it is gone."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _open(path: Path) -> _File | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    return _File(path, descriptor, os.fstat(descriptor).st_ino)


def _head(descriptor: int, octets: int) -> str:
    return hashlib.sha256(os.pread(descriptor, octets, 0)).hexdigest()[:32]

"""The standing of devices as the journal on disk says it, read only. `trust_sync` is the only writer.

`refresh` follows the file; no lookup does I/O. A line that cannot be read makes the file unusable: what was read before
stays in force until the file is replaced. A last line without a newline is a write that did not finish; it is ignored.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dane_radius.local.standing_journal import (
    JOURNAL_FILE,
    Header,
    JournalFormatError,
    Position,
    read_header,
    read_numbered_line,
)
from dane_radius.local.standings import Standings
from policy import DeviceStanding

_READ_OCTETS = 256 * 1024
_MAX_LINE_OCTETS = 64 * 1024
_LINES_BETWEEN_LOOKS = 32
# Other threads need Python's lock. After so much work, the reader leaves it to them for as long.
_SLICE_SECONDS = 0.001
_MAX_LOCK_WAIT_SECONDS = 1.0


class StandingTable:
    """Follows a standing journal.

    available: whether a whole journal was ever read, so that `of` may be relied on. error: why the file cannot be used
    now; None: it can. source: the service that the entries are from. sequence: the change up to which everything is in
    force. latest: the number in the last line that was read.
    """

    def __init__(self, directory: str | Path, rest: Callable[[float], None] = time.sleep) -> None:
        """`rest`: called with the seconds for which the reader leaves Python's lock to other threads."""
        self._path = Path(directory) / JOURNAL_FILE
        self._rest = rest
        self._lock = threading.Lock()
        self._file: _OpenJournal | None = None
        # Number, size and time of modification of a file that cannot be used. It is not read again.
        self._unusable: tuple[int, int, int] | None = None
        self._standings = Standings()
        self.available = False
        self.error: str | None = None
        self.source: str | None = None
        self.sequence = self.latest = 0

    def __len__(self) -> int:
        return len(self._standings)

    @property
    def standings(self) -> Standings:
        """The entries in force."""
        return self._standings

    def of(self, name: str, now: float) -> DeviceStanding | None:
        """What counts for a normalized name at `now` (seconds since 1970). None: nothing is known of it."""
        return self._standings.of(name, now)

    def refresh(self, *, paced: bool = True) -> bool:
        """Read what was added to the journal. Returns whether that was done. Never raises.

        `paced`: in small slices, because authentications are under way. False is returned if another thread's refresh
        lasts longer than a second.
        """
        if not self._lock.acquire(timeout=_MAX_LOCK_WAIT_SECONDS):
            return False
        try:
            self._follow(_Pace(self._rest if paced else None))
        except FileNotFoundError:
            self.error = f"{self._path}: no such file; trust-sync has not written it yet"
        except OSError as error:
            self.error = f"{self._path}: {error.strerror or error}"
        except JournalFormatError as error:
            self.error = f"{self._path}: {error}"
        finally:
            self._lock.release()
        return True

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _follow(self, pace: _Pace) -> None:
        """Raises OSError, JournalFormatError."""
        file = self._file
        if file is not None:
            try:
                self._take(file, self._standings, pace)
                if file.is_at(self._path):
                    self.error = None
                    return
                # Another file has its name, and may continue where this one ends. From now on, this one does not grow.
                self._take(file, self._standings, pace)
            except JournalFormatError:
                self._mark_unusable(file)
                raise
            except _Shortened:
                self._drop()
        self._open(pace)

    def _open(self, pace: _Pace) -> None:
        status = os.stat(self._path)
        if self._unusable == (status.st_ino, status.st_size, status.st_mtime_ns):
            return
        file = _OpenJournal(self._path)
        try:
            header = file.read_header()
            if self._file is not None and header.continues and header.continues == self._file.journal:
                file.offset, standings = max(file.offset, header.octets), self._standings
            else:
                standings = Standings()
            sequence = self._take(file, standings, pace, header.sequence)
        except (JournalFormatError, _Shortened) as error:
            self._mark_unusable(file)
            file.close()
            raise JournalFormatError(str(error)) from error
        except OSError:
            file.close()
            raise
        self._drop()
        self._file, self._standings, self._unusable = file, standings, None
        self.sequence, self.latest, self.source = sequence, file.latest, header.source
        self.available, self.error = True, None

    def _mark_unusable(self, file: _OpenJournal) -> None:
        self._unusable = file.signature()
        if file is self._file:
            self._drop()

    def _take(self, file: _OpenJournal, standings: Standings, pace: _Pace, sequence: int = 0) -> int:
        """Apply the lines that were not read before. Returns the number of the last change.

        Raises OSError, JournalFormatError, _Shortened.
        """
        live = standings is self._standings
        for number, line in file.lines():
            try:
                change, found = read_numbered_line(line)
            except JournalFormatError as error:
                raise JournalFormatError(f"line {number}: {error}") from error
            if isinstance(found, Position):
                sequence = found.sequence
                if live:
                    self.sequence = sequence
            else:
                standings.apply(found)
            file.latest = change
            if live:
                self.latest = change
            pace.rest()
        return max(sequence, self.sequence) if live else sequence


class _Shortened(Exception):
    """The file is shorter than before: it is another one."""


class _OpenJournal:
    """An open journal. offset: where the first line begins that was not read. latest: the number in the one before."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.offset = 0
        self._line = self.latest = 0
        self.journal: str | None = None

    def close(self) -> None:
        os.close(self._descriptor)

    def signature(self) -> tuple[int, int, int]:
        status = os.fstat(self._descriptor)
        return status.st_ino, status.st_size, status.st_mtime_ns

    def is_at(self, path: Path) -> bool:
        """Whether the path still names this file. Raises OSError."""
        found, held = os.stat(path), os.fstat(self._descriptor)
        return (found.st_ino, found.st_dev) == (held.st_ino, held.st_dev)

    def read_header(self) -> Header:
        """Raises OSError, JournalFormatError."""
        octets = os.pread(self._descriptor, _MAX_LINE_OCTETS, 0)
        line, newline, _ = octets.partition(b"\n")
        if not newline:
            raise JournalFormatError("no first line")
        header = read_header(line)
        self.offset, self._line, self.journal = len(line) + 1, 1, header.journal
        self.latest = header.sequence
        return header

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The number and the octets of each whole line from `offset` on, which follows.

        Raises OSError, JournalFormatError, _Shortened.
        """
        if os.fstat(self._descriptor).st_size < self.offset:
            raise _Shortened("the file was shortened")
        rest, at = b"", self.offset
        while octets := os.pread(self._descriptor, _READ_OCTETS, at):
            at += len(octets)
            *whole, rest = (rest + octets).split(b"\n")
            for line in whole:
                yield self._line + 1, line
                self.offset += len(line) + 1
                self._line += 1
            if len(rest) > _MAX_LINE_OCTETS:
                raise JournalFormatError(f"line {self._line + 1}: longer than {_MAX_LINE_OCTETS} octets")


class _Pace:
    """Limits a thread to half of its time: after a slice of work, it rests for as long. None: it never rests."""

    def __init__(self, rest: Callable[[float], None] | None) -> None:
        self._rest_for, self._began, self._lines = rest, time.perf_counter(), 0

    def rest(self) -> None:
        """Called after each line."""
        self._lines += 1
        if self._rest_for is None or self._lines % _LINES_BETWEEN_LOOKS:
            return
        worked = time.perf_counter() - self._began
        if worked >= _SLICE_SECONDS:
            self._rest_for(worked)
            self._began = time.perf_counter()

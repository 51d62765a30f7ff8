"""The writer of the standing journal, which the module in FreeRADIUS reads: see `dane_radius.local.standing_journal`.

What `append` has returned from is on the disk. A crash at any instant leaves the old or the new state, and a last line
without a newline, which no reader takes into account. A file that cannot be read stays where it is until a whole
snapshot replaces it: a device that is quarantined must not become normal because a file was damaged.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

from dane_radius.local import (
    JOURNAL_FILE,
    Entry,
    Header,
    JournalFormatError,
    Position,
    Standings,
    read_header,
    read_line,
    read_numbered_line,
)
from trust_sync.shared import TimeSlice, sync_folder, write_all

# The journal is rewritten once it has this many lines more than twice its entries, so the cost per change is constant.
_COMPACT_SLACK = 1000
# The first line is written last, into a room of this size: it says how many octets say the same as the old journal.
_HEADER_OCTETS = 2048
_READ_OCTETS = 1 << 20
_LINES_PER_WRITE = 1000
_MAX_UNSETTLED = 10_000


class JournalError(RuntimeError):
    """The journal cannot be written."""


def _journal_error(path: Path, error: OSError) -> JournalError:
    return JournalError(f"{path}: {error.strerror or error}")


class StandingJournal:
    """The journal in a directory. Close it when done.

    standings: the entries in force. header: of the file; None: there is no usable file, and only `replace` helps.
    problem: why the file that was found cannot be used. position: the change up to which the file is complete.
    unsettled: the first entries behind the last position, whose effect on live sessions may be missing.
    """

    def __init__(self, directory: str | Path) -> None:
        """Read the journal. Raises JournalError if the directory cannot be used."""
        self._folder = Path(directory)
        self._path, self._new = self._folder / JOURNAL_FILE, self._folder / f".{JOURNAL_FILE}.new"
        self.standings = Standings()
        self.header: Header | None = None
        self.position: int | None = None
        self.problem: str | None = None
        self.unsettled: list[Entry] = []
        # The first entries behind the present position.
        self._behind: list[tuple[int, Entry]] = []
        self._descriptor = -1
        self._size = self._lines = 0
        # Lines that were appended while the journal is being compacted.
        self._meanwhile: list[bytes] | None = None
        try:
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True)
                # The module has another user.
                self._folder.chmod(0o755)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._new)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _journal_error(self._path, error) from error
        self._read()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def path(self) -> Path:
        """The journal's file."""
        return self._path

    def _read(self) -> None:
        """Read the whole file, and cut off a line that was not finished. Raises JournalError."""
        try:
            header = None
            for line in self._whole_lines():
                if header is None:
                    header = read_header(line)
                    self.position = header.sequence
                    continue
                sequence, found = read_numbered_line(line)
                if isinstance(found, Position):
                    self._move(sequence)
                else:
                    self._apply(sequence, found)
            self.unsettled = [entry for _, entry in self._behind]
            if header is None:
                raise JournalFormatError("no first line")
            os.ftruncate(self._descriptor, self._size)
        except JournalFormatError as error:
            self.problem = f"{self._path}: line {self._lines}: {error}"
            self._forget()
            return
        except OSError as error:
            raise _journal_error(self._path, error) from error
        self.header = header

    def _apply(self, sequence: int, entry: Entry) -> None:
        self.standings.apply(entry)
        if len(self._behind) < _MAX_UNSETTLED:
            self._behind.append((sequence, entry))

    def _move(self, position: int) -> None:
        self.position, self._behind = position, []

    def _whole_lines(self) -> Iterator[bytes]:
        rest = b""
        while octets := os.pread(self._descriptor, _READ_OCTETS, self._size + len(rest)):
            *whole, rest = (rest + octets).split(b"\n")
            for line in whole:
                self._size += len(line) + 1
                self._lines += 1
                yield line

    def _forget(self) -> None:
        self.close()
        self.standings, self.header, self.position, self.unsettled = Standings(), None, None, []
        self._behind = []
        self._size = self._lines = 0

    def append(self, entries: Iterable[tuple[int, Entry]], position: int | None = None) -> None:
        """Put entries in force, each with its sequence number, and then move the position. Durable when it returns.

        Raises JournalError; nothing has changed then.
        """
        entries = list(entries)
        if self.header is None:
            raise JournalError(f"{self._path}: no usable journal to append to")
        lines = [entry.to_line(sequence) for sequence, entry in entries]
        if position is not None:
            lines.append(Position(position).to_line())
        if not lines:
            return
        octets = b"".join(line + b"\n" for line in lines)
        try:
            written = os.write(self._descriptor, octets)
            if written != len(octets):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._descriptor)
        except OSError as error:
            # A full disk may have taken a part.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise _journal_error(self._path, error) from error
        self._size += len(octets)
        self._lines += len(lines)
        if self._meanwhile is not None:
            self._meanwhile.append(octets)
        for sequence, entry in entries:
            self._apply(sequence, entry)
        if position is not None:
            self._move(position)

    @property
    def is_long(self) -> bool:
        """Whether the journal should be compacted."""
        return self._meanwhile is None and self._lines > 2 * len(self.standings) + len(self._behind) + _COMPACT_SLACK

    async def compact(self, header: Header | None = None) -> None:
        """Rewrite the journal with one line for each entry. `append` may be called meanwhile.

        header: names the service and its database anew. Raises JournalError; the old journal stays then.
        """
        old, position = self.header, self.position
        header = header or old
        if header is None or old is None or position is None or self._meanwhile is not None:
            return
        self._meanwhile, behind = [], list(self._behind)
        pace = TimeSlice()
        try:
            with NewJournal(self._folder) as new:
                for entry in self.standings.entries():
                    new.add(position, entry)
                    await pace.rest()
                new.add_lines(Position(position).to_line() + b"\n")
                # Their effect on live sessions is still to come, also after a restart.
                for sequence, entry in behind:
                    new.add(sequence, entry)
                new.flush()
                for octets in self._meanwhile:
                    new.add_lines(octets)
                # Synchronous from here: nothing is appended until the new file has taken the place of the old one.
                self._adopt(new, header._replace(sequence=position, continues=old.journal))
        except OSError as error:
            raise _journal_error(self._path, error) from error
        finally:
            self._meanwhile = None

    def replace(self, new: NewJournal, header: Header, standings: Standings) -> None:
        """Put another file in place of the journal, and `standings`, which it contains, in force.

        Raises JournalError; the old journal stays then.
        """
        try:
            self._adopt(new, header)
        except OSError as error:
            raise _journal_error(self._path, error) from error
        self.standings, self.problem = standings, None
        self._move(header.sequence)

    def _adopt(self, new: NewJournal, header: Header) -> None:
        """Raises OSError."""
        header, descriptor = new.finish(header, self._path)
        self.close()
        self._descriptor, self._size, self._lines = descriptor, new.size, new.lines
        self.header = header
        sync_folder(self._folder)

    def new(self) -> NewJournal:
        """Begin a file that may take the place of the journal. Raises OSError."""
        return NewJournal(self._folder)


class NewJournal:
    """A journal that is being written beside the present one. A context manager, which removes what is not used.

    size: in octets. lines: how many there are. identifier: of the file.
    """

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._path = folder / f".{JOURNAL_FILE}.new"
        self.identifier = secrets.token_hex(8)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o644)
        os.fchmod(self._descriptor, 0o644)
        self._waiting: list[bytes] = []
        self._finished = False
        self.size, self.lines = 0, 1
        self._write(b" " * (_HEADER_OCTETS - 1) + b"\n")

    def __enter__(self) -> NewJournal:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def add(self, sequence: int, entry: Entry) -> None:
        """Add an entry. Raises OSError."""
        self._waiting.append(entry.to_line(sequence))
        if len(self._waiting) >= _LINES_PER_WRITE:
            self.flush()

    def add_lines(self, octets: bytes) -> None:
        """Add whole lines. Raises OSError."""
        self.flush()
        self.lines += octets.count(b"\n")
        self._write(octets)

    def flush(self) -> None:
        """Write what waits. Raises OSError."""
        if self._waiting:
            octets = b"".join(line + b"\n" for line in self._waiting)
            self.lines += len(self._waiting)
            self._waiting = []
            self._write(octets)

    def _write(self, octets: bytes) -> None:
        write_all(self._descriptor, octets)
        self.size += len(octets)

    def entries(self) -> Iterator[Entry]:
        """The entries that were added. Raises OSError."""
        self.flush()
        at, rest = _HEADER_OCTETS, b""
        while octets := os.pread(self._descriptor, _READ_OCTETS, at):
            at += len(octets)
            *whole, rest = (rest + octets).split(b"\n")
            for line in whole:
                found = read_line(line)
                if isinstance(found, Entry):
                    yield found

    def finish(self, header: Header, path: Path) -> tuple[Header, int]:
        """Write the first line, and rename the file. Returns the whole header, and the descriptor. Raises OSError."""
        self.flush()
        header = header._replace(journal=self.identifier, octets=self.size if header.continues else 0)
        line = header.to_line()
        if len(line) >= _HEADER_OCTETS:
            raise OSError(errno.EINVAL, "the URL of the service is too long for the journal")
        os.pwrite(self._descriptor, line, 0)
        os.fsync(self._descriptor)
        # Lines are appended to it. Opened before the file takes its place, as nothing may fail after that.
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.rename(self._path, path)
        except OSError:
            os.close(descriptor)
            raise
        self._finished = True
        os.close(self._descriptor)
        return header, descriptor

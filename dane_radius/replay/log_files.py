"""Reading decision logs: plain or compressed by gzip, however large, and with lines that are none."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dane_radius.replay.logged import BadLine, LoggedDecision, parse_line

_GZIP = b"\x1f\x8b"
# A line of the module has at most 4,096 octets.
MAX_LINE_OCTETS = 64 * 1024
_MAX_EXAMPLES = 20
_LINES_PER_REPORT = 4_096


@dataclass
class LogReader:
    """Reads the decisions of some files, in their order. What cannot be read is counted, and never fatal.

    `progress`: is called with the octets of the files read so far.
    """

    progress: Callable[[int], None] = lambda octets: None
    bad_lines: int = 0
    other_lines: int = 0
    problems: list[str] = field(default_factory=list)
    _read: int = 0

    def decisions(self, paths: list[str]) -> Iterator[LoggedDecision]:
        """The decisions. A file that cannot be opened or read further is a problem, and the next one follows."""
        for path in paths:
            before = self._read
            try:
                with open(path, "rb") as file:
                    for octets in self._lines(file, before):
                        yield from self._parsed(path, *octets)
            except (OSError, EOFError, zlib.error) as error:
                # gzip raises EOFError for a file that ends early.
                self.problem(f"{path}: {getattr(error, 'strerror', None) or error}")
            self._read = before + size_of(path)
            self.progress(self._read)

    def _lines(self, file: BinaryIO, before: int) -> Iterator[tuple[int, bytes]]:
        zipped = file.read(2) == _GZIP
        file.seek(0)
        # A GzipFile reads like a BinaryIO, although its type is another.
        stream: BinaryIO = gzip.GzipFile(fileobj=file) if zipped else file  # type: ignore[assignment]
        number = 0
        while line := stream.readline(MAX_LINE_OCTETS):
            number += 1
            if len(line) == MAX_LINE_OCTETS and not line.endswith(b"\n"):
                while (rest := stream.readline(MAX_LINE_OCTETS)) and not rest.endswith(b"\n"):
                    pass
                line = b""
            if number % _LINES_PER_REPORT == 0:
                self.progress(before + file.tell())
            yield number, line

    def _parsed(self, path: str, number: int, line: bytes) -> Iterator[LoggedDecision]:
        if not line:
            self._bad(path, number, f"more than {MAX_LINE_OCTETS} octets")
        elif not line.isspace():
            try:
                decision = parse_line(line.decode("utf-8", "strict"))
            except UnicodeDecodeError:
                self._bad(path, number, "not UTF-8")
            except BadLine as error:
                self._bad(path, number, str(error))
            else:
                if decision is None:
                    self.other_lines += 1
                else:
                    yield decision

    def _bad(self, path: str, number: int, why: str) -> None:
        self.bad_lines += 1
        if self.bad_lines <= _MAX_EXAMPLES:
            self.problem(f"{path}, line {number}: {why[:200]}")

    def problem(self, text: str) -> None:
        """Note what could not be read."""
        self.problems.append(text)


def size_of(path: str) -> int:
    """The octets of a file; 0 if it is none."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0

"""Device lists: files with one DNS name in a line. `#` begins a comment."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from policy.loading.problems import Problem, Stamp, found
from policy.matching.device_lists import NameTable
from policy.model.fields import exact_name

MAX_LISTS = 64
# In each list.
MAX_LISTED_NAMES = 4_000_000
MAX_LIST_OCTETS = 256 * 1024 * 1024
_MAX_LINE_OCTETS = 1024
_MAX_PROBLEMS = 20
_LINES_PER_REST = 64

# What `exact_name` would return as it is. Ten times as fast, for the lines of ordinary lists.
_PLAIN = re.compile(rb"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.){1,100}[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\n?\Z")
_MAX_PLAIN_OCTETS = 250

# Secret, and the same for all lists of the process: a name is digested once for all of them.
_KEY = secrets.token_bytes(16)


class _Unusable(Exception):
    """The file as a whole cannot be used."""


def load_list(path: Path, rest: Callable[[], None]) -> tuple[NameTable | None, list[Problem], Stamp | None]:
    """The names in a file, or why it cannot be used; and the version of the file. `rest` is called often."""
    stamp: Stamp | None = None
    try:
        with open(path, "rb") as file:
            stamp = stamp_of(os.fstat(file.fileno()))
            table, problems = _read(path, file, rest)
            if stamp_of(os.fstat(file.fileno())) != stamp:
                raise _Unusable("changed while it was read; a list is expected to be replaced in one step")
    except OSError as error:
        return None, [Problem((), f"{path} cannot be read: {error.strerror}")], stamp
    except (_Unusable, OverflowError) as error:
        return None, [Problem((), f"{path} {error}")], stamp
    return (None, problems, stamp) if problems else (table, [], stamp)


def stamp_of(status: os.stat_result) -> Stamp:
    """The version of a file."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path, file: BinaryIO, rest: Callable[[], None]) -> tuple[NameTable, list[Problem]]:
    # A table is never made larger, which would take long in one piece. So the lines are counted first.
    table = NameTable(_KEY, sum(1 for _ in _lines(file, rest)))
    file.seek(0)
    content = hashlib.sha256()
    problems: list[Problem] = []
    for number, line in enumerate(_lines(file, rest), 1):
        content.update(line)
        try:
            name = _name(line)
        except ValueError as error:
            problems.append(Problem((), f"{path} line {number}: {error}"))
            if len(problems) >= _MAX_PROBLEMS:
                break
        else:
            if name:
                table.add(name)
    table.content = content.digest()
    return table, problems


def _lines(file: BinaryIO, rest: Callable[[], None]) -> Iterator[bytes]:
    """The lines of a file. Raises _Unusable beyond the limits."""
    octets = 0
    readline = file.readline
    number = 0
    while line := readline(_MAX_LINE_OCTETS + 1):
        number += 1
        if number % _LINES_PER_REST == 0:
            rest()
        octets += len(line)
        if len(line) > _MAX_LINE_OCTETS:
            raise _Unusable(f"line {number}: more than {_MAX_LINE_OCTETS} octets; one name is expected")
        if number > MAX_LISTED_NAMES or octets > MAX_LIST_OCTETS:
            raise _Unusable(f"is too long; at most {MAX_LISTED_NAMES} lines and {MAX_LIST_OCTETS} octets are expected")
        yield line


def _name(line: bytes) -> str | None:
    """The name in a line; None without one. Raises ValueError."""
    if len(line) <= _MAX_PLAIN_OCTETS and _PLAIN.match(line):
        return line.rstrip(b"\n").decode("ascii")
    try:
        text = line.decode("utf-8").partition("#")[0].strip()
    except UnicodeDecodeError:
        raise ValueError(f"{found(line)} found; UTF-8 is expected") from None
    if not text:
        return None
    try:
        return exact_name(text)
    except ValueError as error:
        raise ValueError(f"{found(text)} found; {error}") from error


def digest_with_lists(file_digest: str, lists: Mapping[str, NameTable]) -> str:
    """The digest of a policy with its lists. `file_digest`: that of the file alone."""
    if not lists:
        return file_digest
    every = hashlib.sha256(file_digest.encode())
    for name, table in sorted(lists.items()):
        every.update(f"\n{name} {table.content.hex()}".encode())
    return every.hexdigest()

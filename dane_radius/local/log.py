"""Structured logs: JSON under a service manager, readable on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import structlog

from dane_radius.local.config import LogConfig

Logger = structlog.typing.FilteringBoundLogger


class LogFile:
    """An append-only file. After log rotation, `reopen_if_moved` opens the new file."""

    def __init__(self, path: str) -> None:
        """Raises OSError when the file cannot be opened for appending."""
        self._path = path
        self._descriptor = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write_line(self, line: str) -> int:
        """As `write_lines`, for one line."""
        return self.write_lines([line])

    def write_lines(self, lines: list[str]) -> int:
        """Write whole lines with one write(2), so that lines from several threads never mix.

        Returns how many were lost. On a full disk lines are lost, but no error is raised and no part of a line stays.
        """
        octets = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        try:
            written = os.write(self._descriptor, octets)
        except OSError:
            return len(lines)
        if written == len(octets):
            return 0
        whole = octets.rfind(b"\n", 0, written) + 1
        with contextlib.suppress(OSError):
            # Only a regular file can be truncated; a pipe has delivered the partial line.
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - (written - whole))
        return len(lines) - octets.count(b"\n", 0, whole)

    def reopen_if_moved(self) -> None:
        """Open the path again if it names another file now, or none."""
        try:
            current = os.stat(self._path)
        except OSError:
            current = None
        held = os.fstat(self._descriptor)
        if current is None or (current.st_ino, current.st_dev) != (held.st_ino, held.st_dev):
            with contextlib.suppress(OSError):
                fresh = self._open()
                # The descriptor keeps its number, so that a thread that is writing uses one file or the other.
                os.dup2(fresh, self._descriptor, inheritable=False)
                os.close(fresh)


class StandardError(LogFile):
    """The inherited standard error, used by its descriptor.

    Opening /dev/stderr would fail if it is a socket (the journal's, under systemd) or a file of another user.
    """

    def __init__(self) -> None:
        """Raises OSError when the process has none."""
        self._descriptor = 2
        os.fstat(self._descriptor)

    def reopen_if_moved(self) -> None:
        """Does nothing: log rotation does not affect standard error."""


class _LineLogger:
    """The logger that structlog writes to: each level writes one line."""

    def __init__(self, file: LogFile | None) -> None:
        self._file = file

    def msg(self, message: str) -> None:
        if self._file is not None:
            self._file.write_line(message)

    debug = info = warning = error = critical = exception = msg


def open_log(config: LogConfig) -> tuple[Logger, LogFile | None]:
    """A logger for the configured destination, and its file if log rotation can replace it. Raises OSError."""
    file: LogFile | None = None
    if config.destination == "stderr":
        file = StandardError()
    elif config.destination != "none":
        file = LogFile(config.destination)
    renderer: Any
    if config.format == "json":
        renderer = structlog.processors.JSONRenderer(serializer=to_json)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=config.destination == "stderr" and sys.stderr.isatty())
    logger = structlog.wrap_logger(
        _LineLogger(file),
        processors=[
            structlog.processors.add_log_level,
            _stamp,
            structlog.processors.format_exc_info,
            *([] if config.format == "json" else [_printable]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        cache_logger_on_first_use=True,
    )
    return logger.bind(), None if config.destination == "stderr" else file


def _stamp(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the current time, unless the event has a timestamp of its own."""
    event.setdefault("timestamp", iso_time(time.time()))
    return event


def _printable(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape unprintable characters, which could control a terminal that displays the log.

    Values such as a User-Name or a resolver's text come from outside. The JSON format escapes them anyway. A traceback
    keeps its line breaks.
    """
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return event


def iso_time(seconds: float) -> str:
    """Seconds since 1970 in the format of RFC 3339, in UTC, to the microsecond."""
    whole, microseconds = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{microseconds:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=str)


def to_json(event: dict[str, Any], **_: Any) -> str:
    """A log line as compact JSON. A value without a JSON form is written as its `str`."""
    return _ENCODER.encode(event)

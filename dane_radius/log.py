"""Structured logs: one line per decision. JSON under a service manager, readable on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import structlog

from dane_radius.config import LogConfig
from dane_radius.decision import Decision, Evidence
from policy import RequestFacts

Logger = structlog.typing.FilteringBoundLogger


class LogFile:
    """An append-only file that survives log rotation: `reopen_if_moved` follows the name to its new file."""

    def __init__(self, path: str) -> None:
        """Raises OSError when the file cannot be opened for appending."""
        self._path = path
        self._descriptor = self._open()

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def write_line(self, line: str) -> int:
        """As `write_lines` for one line."""
        return self.write_lines([line])

    def write_lines(self, lines: list[str]) -> int:
        """Write whole lines with one write(2), so that those of several threads never mix.

        Returns how many were lost: a full disk loses lines, not decisions, and leaves no part of a line.
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
            # Only a regular file can be cut; a pipe has passed the part on.
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - (written - whole))
        return len(lines) - octets.count(b"\n", 0, whole)

    def reopen_if_moved(self) -> None:
        """Open the path anew if it now names another file, or none."""
        try:
            current = os.stat(self._path)
        except OSError:
            current = None
        held = os.fstat(self._descriptor)
        if current is None or (current.st_ino, current.st_dev) != (held.st_ino, held.st_dev):
            with contextlib.suppress(OSError):
                fresh = self._open()
                # The descriptor's number stays: a thread that is writing meanwhile writes to one file or the other.
                os.dup2(fresh, self._descriptor, inheritable=False)
                os.close(fresh)


class StandardError(LogFile):
    """Standard error as it was inherited.

    By its descriptor: opening /dev/stderr fails where it is a socket (under systemd, the journal's), or a file that
    another user opened.
    """

    def __init__(self) -> None:
        """Raises OSError when the process has none."""
        self._descriptor = 2
        os.fstat(self._descriptor)

    def reopen_if_moved(self) -> None:
        """It has no name by which it could move."""


class _LineLogger:
    """What structlog calls: every level writes one line."""

    def __init__(self, file: LogFile | None) -> None:
        self._file = file

    def msg(self, message: str) -> None:
        if self._file is not None:
            self._file.write_line(message)

    debug = info = warning = error = critical = exception = msg


def open_log(config: LogConfig) -> tuple[Logger, LogFile | None]:
    """A logger for the configured destination, and its file if there is one to reopen. Raises OSError."""
    file: LogFile | None = None
    if config.destination == "stderr":
        file = StandardError()
    elif config.destination != "none":
        file = LogFile(config.destination)
    renderer: Any
    if config.format == "json":
        renderer = structlog.processors.JSONRenderer(serializer=_to_json)
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
    """Give a line its time, unless it brings the time of what it reports."""
    event.setdefault("timestamp", _iso(time.time()))
    return event


def _printable(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Of what strangers say (a User-Name, a resolver's text) nothing may drive the terminal that shows it.

    JSON escapes it by itself. A traceback is ours, and needs its lines.
    """
    for key, value in event.items():
        if isinstance(value, str) and key != "exception" and not value.isprintable():
            event[key] = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return event


def _iso(seconds: float) -> str:
    whole, microseconds = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{microseconds:06d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


# A stranger chooses much of what a refusal says, and how many refusals there are.
MAX_LINE_OCTETS = 4096
_ENCODER = json.JSONEncoder(separators=(",", ":"), default=str)
# What differs between two visits of a device: in the evidence, "ttl" and "cached" behind it.
_TTL = Evidence._fields.index("ttl")
_ATTRIBUTES = Decision._fields.index("attributes")


def _to_json(event: dict[str, Any], **_: Any) -> str:
    return _ENCODER.encode(event)


def request_fields(request: RequestFacts, outer_identity: str | None) -> dict[str, str | None]:
    """What ties a decision to the NAS's and the server's own records. Never credentials."""
    return {
        "station": request.calling_station_id,
        "nas": request.nas_identifier or request.nas_address,
        "ssid": request.ssid,
        "outer_identity": outer_identity,
    }


def decision_fields(
    decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]
) -> dict[str, Any]:
    """What one line says: the verdict, why, on what evidence, for whom, when (`at`, seconds since 1970), how long.

    `request` holds what the NAS said (station, network), so that a line can be found from either end.
    """
    fields = _outcome(decision)
    for key, value in request.items():
        if value:
            fields[key] = value
    fields["evidence"] = decision.evidence.to_json()
    fields["milliseconds"] = round(seconds * 1000, 3)
    fields["timestamp"] = _iso(at)
    return fields


def _outcome(decision: Decision) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "verdict": decision.verdict.value,
        "reason": decision.reason.value,
        "name": decision.name,
        "rule": decision.rule,
        "detail": decision.detail,
    }
    if decision.monitored:
        fields["monitored"] = True
    return fields


def level_of(decision: Decision) -> str:
    """The level of a decision's line: what let somebody in as it should is no warning."""
    return "info" if decision.accepted and not decision.monitored else "warning"


def decision_line(decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]) -> str:
    """The line as `open_log`'s JSON renderer writes it, without the way through it: this is done for every device.

    A device that comes back has most of its line in common with the last one. What is refused may hold anything, and is
    not worth keeping.
    """
    if not decision.accepted or decision.monitored:
        fields = decision_fields(decision, at=at, seconds=seconds, request=request)
        fields["event"], fields["level"] = "decision", level_of(decision)
        return _bounded(fields)
    evidence = decision.evidence
    members = (
        _evidence_members(0, evidence[:_TTL]),
        f'"ttl":{evidence.ttl}' if evidence.ttl is not None else "",
        '"cached":true' if evidence.cached else "",
        _evidence_members(_TTL + 2, evidence[_TTL + 2 :]),
    )
    return (
        f'{{{_outcome_members(decision[:_ATTRIBUTES])}{_request_members(tuple(request.items()))},"evidence":{{'
        f'{",".join(filter(None, members))}}},"milliseconds":{round(seconds * 1000, 3)!r},"timestamp":"{_iso(at)}",'
        f'"event":"decision","level":"{level_of(decision)}"}}'
    )


def _bounded(fields: dict[str, Any]) -> str:
    """The line, of at most MAX_LINE_OCTETS: what is longest is cut first, and the line says so."""
    line = _to_json(fields)
    if len(line) <= MAX_LINE_OCTETS:
        return line
    for length in (256, 64, 16):
        line = _to_json({**_cut(fields, length), "cut": True, "timestamp": fields["timestamp"]})
        if len(line) <= MAX_LINE_OCTETS:
            break
    return line


def _cut(value: Any, length: int) -> Any:
    """Strings of at most `length` characters, and lists of at most a quarter as many elements."""
    if isinstance(value, str):
        return value if len(value) <= length else f"{value[: length - 1]}…"
    if isinstance(value, dict):
        return {key: _cut(part, length) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(part, length) for part in value[: length // 4]]
    return value


def _members(fields: dict[str, Any]) -> str:
    """What stands between the braces of a JSON object."""
    return _to_json(fields)[1:-1]


@lru_cache(maxsize=2048)
def _outcome_members(outcome: tuple[Any, ...]) -> str:
    return _members(_outcome(Decision._make((*outcome, (), Evidence()))))


@lru_cache(maxsize=2048)
def _request_members(request: tuple[tuple[str, str | None], ...]) -> str:
    members = _members({key: value for key, value in request if value})
    return f",{members}" if members else ""


@lru_cache(maxsize=4096)
def _evidence_members(first: int, values: tuple[Any, ...]) -> str:
    """Of the evidence from field number `first` on."""
    names = Evidence._fields[first : first + len(values)]
    return _members(Evidence(**dict(zip(names, values, strict=True))).to_json())


def log_decision(
    logger: Logger, decision: Decision, *, at: float, seconds: float, request: Mapping[str, str | None]
) -> None:
    """One line through the logger, in whatever form it has."""
    fields = decision_fields(decision, at=at, seconds=seconds, request=request)
    getattr(logger, level_of(decision))("decision", **fields)

"""What the commands of `dane-radius policy` share: reading policy files and times, and requests from options."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from rich.console import Console
from rich.markup import escape

from dane_radius.cli.common import REFUSED, USAGE, fail, read_config
from dane_radius.core.names import normalize
from dane_radius.core.reasons import Refused
from policy import Policy, PolicyError, load_policy
from policy.analysis import Document

_TIME_FORMATS = ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")

_WIDTH_WITHOUT_TERMINAL = 240

Command = TypeVar("Command", bound=Callable[..., Any])


class PolicyFile(NamedTuple):
    """A policy file that is valid."""

    path: str
    policy: Policy
    document: Document


def policy_path(path: str | None) -> str:
    """The file that a command is about: by default, the configured one."""
    return path if path is not None else read_config(None).policy


def read_policy(path: str) -> PolicyFile:
    """A policy file. The command exits if it is invalid (1), or cannot be read (2)."""
    octets = read_octets(path)
    try:
        return PolicyFile(path, load_policy(path), Document(octets))
    except PolicyError as error:
        fail(f"invalid policy\n{error}", REFUSED)


def read_octets(path: str) -> bytes:
    """The content of a file. The command exits if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE)


def name_problem(name: str) -> str | None:
    """Why a text is no valid device name; None if it is one."""
    try:
        normalize(name.encode("utf-8"))
    except Refused as refusal:
        return refusal.detail
    return None


def device_name(text: str) -> str:
    """A device name from the command line. The command exits if it is invalid."""
    try:
        return normalize(text.encode("utf-8"))
    except Refused as refusal:
        fail(f"{text}: {refusal.code.value}: {refusal.detail}")


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases of click only
    """A UTC time, as seconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises click.BadParameter for text that is no time."""
        if isinstance(value, float):
            return value
        found = None
        for form in _TIME_FORMATS:
            with contextlib.suppress(ValueError):
                found = found or datetime.strptime(str(value), form).replace(tzinfo=UTC)
        if found is None:
            self.fail(f"{value!r} found, a UTC time such as '2027-01-31 18:00' is expected", param, ctx)
        return found.timestamp()


def at_option(command: Command) -> Command:
    """The option `--at`: seconds since 1970, now by default."""
    return click.option(
        "--at",
        type=Moment(),
        metavar="TIME",
        default=time.time,
        help="A UTC time, as in '2027-01-31 18:00', instead of now.",
    )(command)


def console() -> Console:
    """A console for tables. In a file or a pipe, rows are not wrapped at the width of a terminal."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL)


def shown(text: str) -> str:
    """Text for a console: without markup, and with unprintable characters escaped.

    A log has what NASes and devices have sent, which could control the terminal.
    """
    return escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def iso(seconds: float) -> str:
    """Seconds since 1970 as a UTC time for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"

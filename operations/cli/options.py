"""Options that several commands share."""

from __future__ import annotations

import datetime as dt
import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from operations.local import config
from policy import Standing

Command = TypeVar("Command", bound=Callable[..., Any])

_DURATION = re.compile(r"([0-9]{1,6})([smhd])\Z")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def settings_options(*overrides: str) -> Callable[[Command], Command]:
    """Options that choose the service to work on; the command gets `settings`.

    overrides: further options of the command that override a key of the configuration's `operations` section. They go
    into the settings, not to the command.
    """

    def decorate(function: Command) -> Command:
        @click.option(
            "-c",
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="DANE_OPERATIONS_CONFIG",
            help=f"Configuration file in TOML; every key is optional. Default: {config.DEFAULT_CONFIG}, if it exists.",
        )
        @click.option(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="DANE_OPERATIONS_STATE_DIR",
            help=f"Directory of TLS files and the SQLite database. Default: {config.DEFAULT_STATE_DIR}",
        )
        @click.option(
            "--database-url",
            envvar="DANE_OPERATIONS_DATABASE_URL",
            help="sqlite:///PATH or postgresql://USER@HOST/NAME. Default: SQLite in the state directory.",
        )
        @functools.wraps(function)
        def wrapper(
            *args: Any, config_file: Path | None, state_dir: Path | None, database_url: str | None, **kwargs: Any
        ) -> Any:
            operations = {"state_dir": state_dir, "database_url": database_url}
            operations.update({key: kwargs.pop(key) for key in overrides})
            path = config_file
            if path is None and state_dir is None and os.access(config.DEFAULT_CONFIG, os.R_OK):
                path = config.DEFAULT_CONFIG
            return function(*args, settings=config.load(path, {"operations": operations}), **kwargs)

        return wrapper  # type: ignore[return-value]  # only click calls the decorated command

    return decorate


def _duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """A duration such as 90s, 30m, 24h or 7d, in seconds."""
    if value is None:
        return None
    match = _DURATION.match(value)
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(f"found {value!r}, expected a number with s, m, h or d, such as 24h")
    return int(match[1]) * _UNIT_SECONDS[match[2]]


def _moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> dt.datetime | None:
    """A time in RFC 3339 form. Without a time zone, it is in the machine's."""
    if value is None:
        return None
    try:
        return dt.datetime.fromisoformat(value).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"found {value!r}, expected a time such as 2026-12-24T18:00") from None


def ending_options(function: Command) -> Command:
    """`--for`, `--until` and `--then`; the command gets `ending`, fields of `operations.service.schemas.Ending`."""

    @click.option(
        "--for", "seconds", callback=_duration, metavar="TIME", help="How long, such as 24h. Default: no end."
    )
    @click.option("--until", callback=_moment, metavar="TIME", help="Until when, such as 2026-12-24T18:00.")
    @click.option(
        "--then",
        type=click.Choice([standing.value for standing in Standing]),
        help="The standing afterwards. Default: normal.",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, seconds: int | None, until: dt.datetime | None, then: str | None, **kwargs: Any) -> Any:
        if seconds is not None and until is not None:
            raise click.UsageError("--for and --until exclude each other: give one of them")
        if then is not None and seconds is None and until is None:
            raise click.UsageError("--then needs --for or --until")
        return function(*args, ending={"seconds": seconds, "until": until, "then": then}, **kwargs)

    return wrapper  # type: ignore[return-value]  # only click calls the decorated command

"""Options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from iot_registry.cli.output import people
from iot_registry.local import config
from iot_registry.local.private_files import write_private

Command = TypeVar("Command", bound=Callable[..., Any])

ROOT_KEY = click.option(
    "--root-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the root CA's key, if it is kept offline.",
)


def settings_options(*overrides: str) -> Callable[[Command], Command]:
    """Options that choose the registry to work on; the command gets `settings`.

    overrides: further options of the command that override a key of the configuration's `registry` section. They go
    into the settings, not to the command.
    """

    def decorate(function: Command) -> Command:
        @click.option(
            "-c",
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="IOT_REGISTRY_CONFIG",
            help="Configuration file in TOML; every key is optional.",
        )
        @click.option(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="IOT_REGISTRY_STATE_DIR",
            help=f"Directory of keys, TLS files and the SQLite database. Default: {config.DEFAULT_STATE_DIR}",
        )
        @click.option(
            "--database-url",
            envvar="IOT_REGISTRY_DATABASE_URL",
            help="sqlite:///PATH or postgresql://USER@HOST/NAME. Default: SQLite in the state directory.",
        )
        @functools.wraps(function)
        def wrapper(
            *args: Any, config_file: Path | None, state_dir: Path | None, database_url: str | None, **kwargs: Any
        ) -> Any:
            registry = {"state_dir": state_dir, "database_url": database_url}
            registry.update({key: kwargs.pop(key) for key in overrides})
            return function(*args, settings=config.load(config_file, {"registry": registry}), **kwargs)

        return wrapper  # type: ignore[return-value]  # only click calls the decorated command

    return decorate


def json_option(function: Command) -> Command:
    """`--json`; the command gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


class SecretOutput:
    """Where a secret is written: to standard output, or to a new file that only its owner can read.

    The file is checked before the secret is made: a secret that could not be written would be lost, and still valid.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None and path.exists():
            raise click.UsageError(f"--out {path}: is there already, and is not overwritten; name another file")
        if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise click.UsageError(f"--out {path}: found {path.parent}, expected a directory that can be written to")

    def write(self, secret: str, title: str) -> None:
        """title: what the secret is, for the person who reads."""
        if self._path is None:
            people.print(f"{title} (shown only now):")
            click.echo(secret)
            return
        write_private(self._path, f"{secret}\n".encode())
        people.print(f"{title}: {self._path}", highlight=False)


def out_option(function: Command) -> Command:
    """`--out FILE`; the command gets `secret`."""

    @click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write the secret to this new file, mode 0600, instead of printing it.",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, out: Path | None, **kwargs: Any) -> Any:
        if out is not None and kwargs.get("as_json"):
            raise click.UsageError("--out and --json exclude each other: the JSON output holds the secret")
        return function(*args, secret=SecretOutput(out), **kwargs)

    return wrapper  # type: ignore[return-value]  # only click calls the decorated command

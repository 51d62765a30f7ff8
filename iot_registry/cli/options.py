"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from iot_registry.local import config

Command = TypeVar("Command", bound=Callable[..., Any])

ROOT_KEY = click.option(
    "--root-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with the root CA's key, if it is kept offline.",
)


def source_options(function: Command) -> Command:
    """Options that say where the registry is; the command gets `config_file`, `state_dir` and `database_url`."""
    for option in (
        click.option(
            "--database-url",
            envvar="IOT_REGISTRY_DATABASE_URL",
            help="sqlite:///PATH or postgresql://USER@HOST/NAME. Default: SQLite in the state directory.",
        ),
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="IOT_REGISTRY_STATE_DIR",
            help=f"Directory of keys, TLS files and the SQLite database. Default: {config.DEFAULT_STATE_DIR}",
        ),
        click.option(
            "-c",
            "--config",
            "config_file",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="IOT_REGISTRY_CONFIG",
            help="Configuration file in TOML; every key is optional.",
        ),
    ):
        function = option(function)
    return function


def settings_options(*overrides: str) -> Callable[[Command], Command]:
    """Options that choose the registry to work on; the command gets `settings`.

    overrides: further options of the command that override a key of the configuration's `registry` section. They go
    into the settings, not to the command.
    """

    def decorate(function: Command) -> Command:
        @source_options
        @functools.wraps(function)
        def wrapper(
            *args: Any, config_file: Path | None, state_dir: Path | None, database_url: str | None, **kwargs: Any
        ) -> Any:
            registry = {"state_dir": state_dir, "database_url": database_url}
            registry.update({key: kwargs.pop(key) for key in overrides})
            return function(*args, settings=config.load(config_file, {"registry": registry}), **kwargs)

        return wrapper  # type: ignore[return-value]  # only click calls the decorated command

    return decorate

"""The registry that a command works on: the one of this machine, or one at a URL."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from iot_registry.cli.administration import Administration
from iot_registry.cli.opening import opened
from iot_registry.cli.options import settings_options
from iot_registry.cli.remote_administration import RemoteAdministration, read_api_key
from iot_registry.local.config import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

_LOCAL = ("config_file", "state_dir", "database_url")


class Target:
    """A registry to administer. remote: URL, API key file and CA file; None: the registry of this machine."""

    def __init__(self, settings: Settings, remote: tuple[str, Path, Path | None] | None) -> None:
        self._settings = settings
        self._remote = remote

    @property
    def is_local(self) -> bool:
        return self._remote is None

    @contextlib.contextmanager
    def opened(self, root_key: Path | None = None) -> Iterator[Administration]:
        """Open the registry. Raises ConfigurationError."""
        if self._remote is not None:
            url, key_file, ca_file = self._remote
            yield RemoteAdministration(url, read_api_key(key_file), ca_file)
            return
        with opened(self._settings, root_key=root_key) as registry:
            yield registry


def target_options(function: Command) -> Command:
    """Options that choose the registry, on this machine or at a URL; the command gets `target`."""

    @click.option("--url", envvar="IOT_REGISTRY_URL", help="Work on the registry at https://HOST[:PORT], over its API.")
    @click.option(
        "--api-key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="IOT_REGISTRY_API_KEY_FILE",
        help="With --url: file with an API key, mode 0600.",
    )
    @click.option(
        "--ca-file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="IOT_REGISTRY_CA_FILE",
        help="With --url: CA certificates in PEM (see `iot-registry anchor`). Default: those of the system.",
    )
    @settings_options()
    @functools.wraps(function)
    def wrapper(
        *args: Any, settings: Settings, url: str | None, api_key_file: Path | None, ca_file: Path | None, **kwargs: Any
    ) -> Any:
        return function(*args, target=Target(settings, _remote(url, api_key_file, ca_file)), **kwargs)

    return wrapper  # type: ignore[return-value]  # only click calls the decorated command


def _remote(url: str | None, key_file: Path | None, ca_file: Path | None) -> tuple[str, Path, Path | None] | None:
    """The remote registry that the options name, if any. The command line takes precedence over the environment."""
    local = [name for name in _LOCAL if _given(name)]
    if local and _given("url"):
        raise click.UsageError("--url and --config, --state-dir or --database-url exclude each other: give either")
    if url is None or local:
        for name in ("api_key_file", "ca_file"):
            if _given(name):
                raise click.UsageError(f"--{name.replace('_', '-')} belongs to --url: give both or neither")
        return None
    if key_file is None:
        raise click.UsageError("--url needs --api-key-file FILE")
    return url, key_file, ca_file


def _given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE

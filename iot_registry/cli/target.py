"""Which registry a command works on: this machine's, or one at a URL."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from iot_registry.cli.administration import Administration
from iot_registry.cli.output import opened, settings_options
from iot_registry.cli.remote import RemoteAdministration, read_api_key
from iot_registry.config import Settings

F = TypeVar("F", bound=Callable[..., Any])

_LOCAL = ("config_file", "state_dir", "database_url")


class Target:
    """A registry that can be opened for administration. remote: the URL and its files, or None: it is here."""

    def __init__(self, settings: Settings, remote: tuple[str, Path, Path | None] | None) -> None:
        self._settings = settings
        self._remote = remote

    @property
    def is_local(self) -> bool:
        return self._remote is None

    @contextlib.contextmanager
    def opened(self, root_key: Path | None = None) -> Iterator[Administration]:
        """Raises ConfigurationError."""
        if self._remote is not None:
            url, key_file, ca_file = self._remote
            yield RemoteAdministration(url, read_api_key(key_file), ca_file)
            return
        with opened(self._settings, root_key=root_key) as registry:
            yield registry


def target_options(function: F) -> F:
    """Options that choose the registry, here or at a URL; the command gets `target`."""

    @click.option("--url", envvar="IOT_REGISTRY_URL", help="Work on the registry at https://HOST[:PORT], by its API.")
    @click.option(
        "--api-key-file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="IOT_REGISTRY_API_KEY_FILE",
        help="With --url: file (mode 0600) with an API key.",
    )
    @click.option(
        "--ca-file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="IOT_REGISTRY_CA_FILE",
        help="With --url: PEM of what its TLS certificate is under (`iot-registry anchor`). Default: the system's.",
    )
    @settings_options
    @functools.wraps(function)
    def wrapper(
        *args: Any, settings: Settings, url: str | None, api_key_file: Path | None, ca_file: Path | None, **kwargs: Any
    ) -> Any:
        return function(*args, target=Target(settings, _remote(url, api_key_file, ca_file)), **kwargs)

    return wrapper  # type: ignore[return-value]  # the decorated command is called by click only


def _remote(url: str | None, key_file: Path | None, ca_file: Path | None) -> tuple[str, Path, Path | None] | None:
    """What the options mean together: on the command line, one way or the other; that comes before the environment."""
    local = [name for name in _LOCAL if _given(name)]
    if local and _given("url"):
        raise click.UsageError("--url and --config, --state-dir or --database-url exclude each other")
    if url is None or local:
        for name in ("api_key_file", "ca_file"):
            if _given(name):
                raise click.UsageError(f"--{name.replace('_', '-')} belongs to --url")
        return None
    if key_file is None:
        raise click.UsageError("--url needs --api-key-file")
    return url, key_file, ca_file


def _given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE

"""The registry that a command works on: the one of this machine, or one at a URL."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from iot_registry.cli.administration import Administration
from iot_registry.cli.opening import opened
from iot_registry.cli.options import settings_options
from iot_registry.cli.remote_administration import RemoteAdministration
from iot_registry.local.config import Settings
from iot_registry.service.api_keys import KEYS
from web_service.cli import Remote, remote_options, remote_service

Command = TypeVar("Command", bound=Callable[..., Any])

_LOCAL = ("config_file", "state_dir", "database_url")
_KEY_OPTION = "--api-key-file"


class Target:
    """A registry to administer. remote: None: the registry of this machine."""

    def __init__(self, settings: Settings, remote: Remote | None) -> None:
        self._settings = settings
        self._remote = remote

    @property
    def is_local(self) -> bool:
        return self._remote is None

    @contextlib.contextmanager
    def opened(self, root_key: Path | None = None) -> Iterator[Administration]:
        """Open the registry. Raises ConfigurationError."""
        if self._remote is not None:
            key = KEYS.read_file(self._remote.key_file)
            yield RemoteAdministration(self._remote.url, key, self._remote.ca_file)
            return
        with opened(self._settings, root_key=root_key) as registry:
            yield registry


def target_options(function: Command) -> Command:
    """Options that choose the registry, on this machine or at a URL; the command gets `target`."""

    @remote_options("IOT_REGISTRY", "registry", "iot-registry anchor", _KEY_OPTION)
    @settings_options()
    @functools.wraps(function)
    def wrapper(
        *args: Any, settings: Settings, url: str | None, key_file: Path | None, ca_file: Path | None, **kwargs: Any
    ) -> Any:
        remote = remote_service(url, key_file, ca_file, _LOCAL, _KEY_OPTION)
        return function(*args, target=Target(settings, remote), **kwargs)

    return wrapper  # type: ignore[return-value]  # only click calls the decorated command

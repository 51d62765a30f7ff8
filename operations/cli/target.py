"""The service that a command works on: the one of this machine, or one at a URL."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from operations.cli.administration import Administration
from operations.cli.opening import opened
from operations.cli.options import settings_options
from operations.cli.remote_administration import RemoteAdministration
from operations.local.config import Settings
from operations.service.api_keys import KEYS
from web_service.cli import Remote, remote_options, remote_service

Command = TypeVar("Command", bound=Callable[..., Any])

_LOCAL = ("config_file", "state_dir", "database_url")
_KEY_OPTION = "--key-file"


class Target:
    """A service to administer. remote: None: the service of this machine."""

    def __init__(self, settings: Settings, remote: Remote | None) -> None:
        self._settings = settings
        self._remote = remote

    @contextlib.contextmanager
    def opened(self) -> Iterator[Administration]:
        """Open the service. Raises ConfigurationError."""
        if self._remote is not None:
            key = KEYS.read_file(self._remote.key_file)
            yield RemoteAdministration(self._remote.url, key, self._remote.ca_file)
            return
        with opened(self._settings) as service:
            yield service


def target_options(function: Command) -> Command:
    """Options that choose the service, on this machine or at a URL; the command gets `target`."""

    @remote_options("DANE_OPERATIONS", "service", "dane-operations anchor", _KEY_OPTION)
    @settings_options()
    @functools.wraps(function)
    def wrapper(
        *args: Any, settings: Settings, url: str | None, key_file: Path | None, ca_file: Path | None, **kwargs: Any
    ) -> Any:
        remote = remote_service(url, key_file, ca_file, _LOCAL, _KEY_OPTION)
        return function(*args, target=Target(settings, remote), **kwargs)

    return wrapper  # type: ignore[return-value]  # only click calls the decorated command

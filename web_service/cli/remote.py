"""The options that name a service at a URL."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

Command = TypeVar("Command", bound=Callable[..., Any])


class Remote(NamedTuple):
    """A service at a URL. key_file: with an API key. ca_file: None: the CAs of the system."""

    url: str
    key_file: Path
    ca_file: Path | None


def remote_options(prefix: str, noun: str, anchor_command: str, key_option: str) -> Callable[[Command], Command]:
    """`--url`, the option of the API key's file, and `--ca-file`; the command gets `url`, `key_file` and `ca_file`.

    prefix: of the environment variables, such as IOT_REGISTRY. key_option: such as --api-key-file.
    """

    def decorate(function: Command) -> Command:
        @click.option("--url", envvar=f"{prefix}_URL", help=f"Work on the {noun} at https://HOST[:PORT], over its API.")
        @click.option(
            key_option,
            "key_file",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar=f"{prefix}_{key_option.removeprefix('--').replace('-', '_').upper()}",
            help="With --url: file with an API key, mode 0600.",
        )
        @click.option(
            "--ca-file",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar=f"{prefix}_CA_FILE",
            help=f"With --url: CA certificates in PEM (see `{anchor_command}`). Default: those of the system.",
        )
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]  # only click calls the decorated command

    return decorate


def remote_service(
    url: str | None, key_file: Path | None, ca_file: Path | None, local: Sequence[str], key_option: str
) -> Remote | None:
    """The remote service that the options name, if any. The command line takes precedence over the environment.

    local: names of the parameters that choose the service of this machine. Raises click.UsageError.
    """
    given = [name for name in local if _given(name)]
    if given and _given("url"):
        options = [f"--{name.removesuffix('_file').replace('_', '-')}" for name in local]
        listed = f"{', '.join(options[:-1])} or {options[-1]}"
        raise click.UsageError(f"--url and {listed} exclude each other: give either")
    if url is None or given:
        for name, option in (("key_file", key_option), ("ca_file", "--ca-file")):
            if _given(name):
                raise click.UsageError(f"{option} belongs to --url: give both or neither")
        return None
    if key_file is None:
        raise click.UsageError(f"--url needs {key_option} FILE")
    return Remote(url, key_file, ca_file)


def _given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE

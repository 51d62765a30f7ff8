"""Options that several commands share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from web_service.cli.output import people
from web_service.local import write_private

Command = TypeVar("Command", bound=Callable[..., Any])


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

"""What the commands share: options, opening the registry, printing, and turning failures into exit codes."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import getpass
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from iot_registry import config, log
from iot_registry.cli.administration import LocalAdministration
from iot_registry.cli.remote import RemoteError
from iot_registry.config import Settings
from iot_registry.errors import ConfigurationError, Reason, Refused
from iot_registry.pki.keys import write_private
from iot_registry.service import provision
from iot_registry.service.access import local_principal
from iot_registry.signer.base import SignerError
from iot_registry.store import migrate
from iot_registry.store.database import Database

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=BaseModel)

# Commands whose own options override the `registry` section of the configuration, and which.
OVERRIDING = {"serve": ("listen", "domain"), "init": ("domain",)}

# What a script reads goes to standard output; what a person reads beside it, to standard error.
people = Console(stderr=True)
results = Console()


class Group(click.Group):
    """Commands whose expected failures end with one line and exit code 1, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as refused:
            field = f" (field {refused.field})" if refused.field else ""
            raise Failed(f"refused, {refused.reason}: {refused.detail}{field}") from None
        except (ConfigurationError, SignerError, RemoteError) as error:
            raise Failed(str(error)) from None
        except DBAPIError as error:
            raise Failed(f"the database does not answer as it should: {error.orig}") from None
        except OSError as error:
            raise Failed(f"{error.strerror}: {error.filename}" if error.filename else str(error)) from None


class Failed(click.ClickException):
    exit_code = 1


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def settings_options(function: F) -> F:
    """Options that choose the registry to work on; the command gets `settings`.

    A command's own options that OVERRIDING names go into the settings, not to the command.
    """

    @click.option(
        "-c",
        "--config",
        "config_file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="IOT_REGISTRY_CONFIG",
        help="TOML file; every key is optional.",
    )
    @click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="IOT_REGISTRY_STATE_DIR",
        help=f"Keys, database, TLS files. Default: {config.DEFAULT_STATE_DIR}",
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
        if function.__name__ in OVERRIDING:
            registry.update({key: kwargs.pop(key) for key in OVERRIDING[function.__name__]})
        return function(*args, settings=config.load(config_file, {"registry": registry}), **kwargs)

    return wrapper  # type: ignore[return-value]  # the decorated command is called by click only


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


class Secret:
    """Where a secret goes: to standard output, or to a new file that only its owner can read.

    Checked before the secret is made: one that cannot be kept would be lost, and still work.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None and path.exists():
            raise click.UsageError(f"--out {path}: is there already, and is not overwritten")
        if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise click.UsageError(f"--out {path}: expected a folder that can be written to, found {path.parent}")

    def put(self, secret: str, what: str) -> None:
        """what: how to call it where a person reads."""
        if self._path is None:
            people.print(f"{what} (shown only now):")
            click.echo(secret)
            return
        write_private(self._path, f"{secret}\n".encode())
        people.print(f"{what}: {self._path}", highlight=False)


def out_option(function: F) -> F:
    """`--out FILE`; the command gets `secret`."""

    @click.option(
        "--out",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write the secret to this new file, mode 0600, instead of printing it.",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, out: Path | None, **kwargs: Any) -> Any:
        if out is not None and kwargs.get("as_json"):
            raise click.UsageError("--out and --json exclude each other: JSON holds the secret")
        return function(*args, secret=Secret(out), **kwargs)

    return wrapper  # type: ignore[return-value]  # the decorated command is called by click only


@contextlib.contextmanager
def opened(settings: Settings, *, root_key: Path | None = None, create: bool = False) -> Iterator[LocalAdministration]:
    """The registry in `settings`, at this version's schema. Raises ConfigurationError if there is
    none yet.
    """
    log.configure(settings.registry.log)
    prepare_state_dir(settings, create=create)
    database = Database(settings.database_url)
    try:
        migrate.upgrade(database)
        who = local_principal(getpass.getuser())
        yield LocalAdministration(provision.with_default_domain(database, settings), database, who, root_key)
    finally:
        database.close()


def prepare_state_dir(settings: Settings, *, create: bool) -> None:
    """Make sure of a state directory that only its owner can enter. Raises ConfigurationError."""
    path = settings.state_dir
    if not path.exists():
        if not create:
            raise ConfigurationError(f"{path}: no registry here; make one with `iot-registry init`")
        path.mkdir(mode=0o700, parents=True)
    mode = path.stat().st_mode & 0o777
    if mode & 0o027:
        raise ConfigurationError(f"{path}: mode is {mode:04o}, expected 0700 or 0750: it holds private keys")


def checked(model: type[M], data: dict[str, Any]) -> M:
    """Command-line values, checked as the API checks a body. Raises Refused."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(Reason.INVALID_FIELD, f"{first['msg']}, found {first['input']!r}", field=field) from None


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, default=str))


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on a terminal; cells are printed as they are, without markup."""
    view = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        view.add_column(column, overflow="fold")
    for row in rows:
        view.add_row(*(_plain(cell) for cell in row))
    (results if sys.stdout.isatty() else Console(width=200)).print(view)


def _plain(text: str) -> str:
    return text.replace("[", "\\[")


def moment(value: dt.datetime | None) -> str:
    return value.strftime("%Y-%m-%d %H:%M:%SZ") if value else "-"

"""What the subcommands share: options, logging, output, and the report of errors."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
import structlog

from iot_safe_sim.device import FAILURES, JoinError
from iot_safe_sim.keystore import KEY_STORE_NAMES
from iot_safe_sim.modem import PortError

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

#: Errors that are not defects of this program. Each is reported as one line, with exit code 1.
_EXPECTED = (*FAILURES, PortError, JoinError)


def configure_logging(*, verbose: bool) -> None:
    """Log to standard error, readable on a terminal and as JSON elsewhere."""
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO if verbose else logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def state_option(function: FunctionT) -> FunctionT:
    """The option --state DIR."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help="State directory: the card's content and, with SoftHSM, its token. Created if it does not exist.",
    )(function)


def key_store_option(function: FunctionT) -> FunctionT:
    """The option --key-store NAME."""
    return click.option(
        "--key-store",
        type=click.Choice(KEY_STORE_NAMES),
        default=None,
        help="Where private keys live. Default: the key store that the card was made with; softhsm for a new card.",
    )(function)


@contextlib.contextmanager
def reported_errors() -> Iterator[None]:
    """Report expected errors as one line on standard error, and exit with code 1."""
    try:
        yield
    except _EXPECTED as error:
        click.echo(f"iot-safe-sim: {error}", err=True)
        raise SystemExit(1) from error


def print_json(document: Any) -> None:
    """Write one line of JSON to standard output, and flush it."""
    click.echo(json.dumps(document, sort_keys=True))
    sys.stdout.flush()

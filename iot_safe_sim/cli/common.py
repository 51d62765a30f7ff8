"""What the subcommands share: options, logging, output, and errors as one line."""

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

from iot_safe_sim.fleet import FAILURES
from iot_safe_sim.keystore import NAMES
from iot_safe_sim.pty_port import PortError
from iot_safe_sim.supplicant import JoinError

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

#: Errors that are somebody's doing, not a defect: shown as one line, exit code 1.
_EXPECTED = (*FAILURES, PortError, JoinError)


def configure_logging(*, verbose: bool) -> None:
    """Readable on a terminal, JSON elsewhere; always on standard error."""
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
    """--state DIR."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        help="State directory: the card's content and, with SoftHSM, its token. Created when missing.",
    )(function)


def key_store_option(function: FunctionT) -> FunctionT:
    """--key-store NAME."""
    return click.option(
        "--key-store",
        type=click.Choice(NAMES),
        default=None,
        help="Where private keys live. Default: what the card was made with; softhsm for a new card.",
    )(function)


@contextlib.contextmanager
def reported_errors() -> Iterator[None]:
    """Show expected errors as one line on standard error and exit with 1."""
    try:
        yield
    except _EXPECTED as error:
        click.echo(f"iot-safe-sim: {error}", err=True)
        raise SystemExit(1) from error


def print_json(document: Any) -> None:
    """One line of JSON on standard output, at once."""
    click.echo(json.dumps(document, sort_keys=True))
    sys.stdout.flush()

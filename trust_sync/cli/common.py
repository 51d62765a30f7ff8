"""Options, output and errors that the commands share."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape

from trust_sync.shared import DEFAULT_CONFIG

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

config_option = click.option(
    "--config",
    "config_path",
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The worker's configuration (TOML).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def fail(message: str) -> NoReturn:
    """Print an error, and exit with code 1."""
    err.print(f"[red]trust-sync:[/] {escape(message)}")
    sys.exit(1)


def print_json(data: Any) -> None:
    """Print a JSON document."""
    click.echo(json.dumps(data, indent=2))


def format_duration(seconds: float) -> str:
    """Write a duration in its largest unit of which there are at least two."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

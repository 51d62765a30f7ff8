"""Printing: results to standard output, for scripts; messages to standard error, for people."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

people = Console(stderr=True)
results = Console()


def print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, default=str))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table. Cells are printed as they are, without markup."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    (results if sys.stdout.isatty() else Console(width=200)).print(table)


def format_time(value: dt.datetime | None) -> str:
    """A time in UTC; a dash: none."""
    return value.strftime("%Y-%m-%d %H:%M:%SZ") if value else "-"

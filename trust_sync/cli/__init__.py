"""The `trust-sync` command, one module for each subcommand. Exit codes: 0 done, 1 refused or failed, 2 usage.

May import every other room. Nothing imports it.
"""

from __future__ import annotations

import click

from trust_sync import __version__
from trust_sync.cli.discover import discover
from trust_sync.cli.once import once
from trust_sync.cli.run import run
from trust_sync.cli.standing import standing
from trust_sync.cli.status import status

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Keep trust anchors and the standing of devices current, and end sessions of devices that may not stay."""


for command in (run, once, discover, status, standing):
    main.add_command(command)

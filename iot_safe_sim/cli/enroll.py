"""`iot-safe-sim enroll`."""

from __future__ import annotations

import click


@click.command()
def enroll() -> None:
    """Not there yet."""
    raise click.ClickException("not there yet")

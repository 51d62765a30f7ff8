"""`iot-safe-sim join`."""

from __future__ import annotations

import click


@click.command()
def join() -> None:
    """Not there yet."""
    raise click.ClickException("not there yet")

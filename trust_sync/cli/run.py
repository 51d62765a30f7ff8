"""`trust-sync run`."""

from __future__ import annotations

import click

from dane_radius.local import ConfigError
from policy import PolicyError
from trust_sync.anchors import StoreError
from trust_sync.cli.common import config_option, fail
from trust_sync.shared import load_config
from trust_sync.standing import JournalError
from trust_sync.worker import run as run_worker


@click.command()
@config_option
def run(config_path: str) -> None:
    """Run the worker until it receives SIGTERM.

    \b
    Example:
      trust-sync run --config /etc/dane-radius/trust-sync.toml
    """
    try:
        run_worker(*load_config(config_path))
    except (ConfigError, PolicyError, StoreError, JournalError) as error:
        fail(str(error))

"""`trust-sync standing`."""

from __future__ import annotations

import click

from dane_radius.local import ConfigError, ControlError, ask
from trust_sync.cli.common import config_option, fail, json_option, out, print_json
from trust_sync.shared import load_config


@click.group()
def standing() -> None:
    """What is in force of the standing of devices on this node."""


@standing.command()
@config_option
@json_option
def adopt(config_path: str, as_json: bool) -> None:
    """Take the operations service's word for every device, also where an earlier service was stricter.

    The worker keeps the stricter standing when the service has another database than before, or has gone back.

    \b
    Example:
      trust-sync standing adopt
    """
    try:
        config, _ = load_config(config_path)
        reply = ask(config.socket, "adopt_standing")
    except (ConfigError, ControlError) as error:
        fail(str(error))
    reply.pop("ok", None)
    if as_json:
        print_json(reply)
    else:
        out.print(f"{reply['kept']} standings are given up within {reply['within_seconds']} s, if the service answers")

"""The `iot-registry` command.

On the registry's machine it works on the state directory and the database directly: whoever may read those is an
administrator already, so no key is asked for. With --url it uses the JSON API of a registry elsewhere.
"""

from __future__ import annotations

import click

from iot_registry import __version__
from iot_registry.cli.authorities import ca
from iot_registry.cli.devices import device, token
from iot_registry.cli.domains import domain, key
from iot_registry.cli.output import Group
from iot_registry.cli.rollovers import rollover
from iot_registry.cli.server import anchor, audit, dns_config, init, serve, status


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Enroll devices, publish their TLSA records, revoke them.

    \b
    Example:
      iot-registry init --domain home.example
      iot-registry serve &
      iot-registry device add a1b2c3 --type camera

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
    """


for command in (serve, init, status, audit, anchor, dns_config, token, device, domain, key, ca, rollover):
    main.add_command(command)

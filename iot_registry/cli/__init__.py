"""The `iot-registry` command.

On the registry's machine, it works on the state directory and the database. Anyone who can read those is an
administrator already, so that it needs no API key. With --url it uses the JSON API of a registry elsewhere.
"""

from __future__ import annotations

import click

from iot_registry import __version__
from iot_registry.cli.ca_commands import ca
from iot_registry.cli.device_commands import device, token_command
from iot_registry.cli.dns_config_command import dns_config_command
from iot_registry.cli.doctor_command import doctor_command
from iot_registry.cli.domain_commands import domain
from iot_registry.cli.failures import RegistryCommands
from iot_registry.cli.key_commands import key
from iot_registry.cli.report_commands import audit_command, registry_status_command
from iot_registry.cli.rollover_commands import rollover
from iot_registry.cli.server_commands import anchor_command, init_command, serve_command


@click.group(cls=RegistryCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Enroll devices, publish their TLSA records, revoke devices.

    \b
    Example:
      iot-registry init --domain home.example
      iot-registry serve &
      iot-registry device add a1b2c3 --type camera

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
    """


for command in (
    serve_command,
    init_command,
    registry_status_command,
    audit_command,
    anchor_command,
    dns_config_command,
    doctor_command,
    token_command,
    device,
    domain,
    key,
    ca,
    rollover,
):
    main.add_command(command)

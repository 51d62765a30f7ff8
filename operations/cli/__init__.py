"""The `dane-operations` command.

On the service's machine, it works on the database. Anyone who can read that is an administrator already, so that it
needs no API key. With --url it uses the JSON API of a service elsewhere.
"""

from __future__ import annotations

import click

from operations import __version__
from operations.cli.approval_commands import approve_command, questions_command
from operations.cli.device_commands import list_command, show_command
from operations.cli.key_commands import key
from operations.cli.report_commands import audit_command, nodes_command, status_command
from operations.cli.server_commands import anchor_command, init_command, restored_command, serve_command
from operations.cli.standing_commands import (
    block_command,
    history_command,
    quarantine_command,
    release_command,
    watch_command,
)
from web_service.cli import CommandGroup


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """See the devices of a network; quarantine, block, release and approve them.

    \b
    Example:
      dane-operations serve &
      dane-operations list --zone appliance --refused
      dane-operations quarantine a1b2c3.camera._device.example.net --reason "scans the network" --for 24h

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
    """


for command in (
    serve_command,
    init_command,
    anchor_command,
    restored_command,
    quarantine_command,
    watch_command,
    block_command,
    release_command,
    approve_command,
    questions_command,
    list_command,
    show_command,
    history_command,
    nodes_command,
    status_command,
    audit_command,
    key,
):
    main.add_command(command)

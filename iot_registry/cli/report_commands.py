"""The commands `status` and `audit`."""

from __future__ import annotations

import json

import click

from iot_registry.cli.ca_commands import print_authorities
from iot_registry.cli.target import Target, target_options
from web_service.cli import format_time, json_option, people, print_json, print_table


@click.command("status")
@target_options
@json_option
def registry_status_command(target: Target, as_json: bool) -> None:
    """Show devices by status, and which changes the DNS does not serve yet.

    \b
    Example:
      iot-registry status --json
    """
    with target.opened() as registry:
        view = registry.status()
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    rows = [[state, str(count)] for state, count in view.devices.items()]
    print_table("Devices", ["status", "count"], rows)
    print_table(
        "Publication",
        ["changes not in the DNS", "oldest (s)", "last error", "last event"],
        [
            [
                str(view.outbox_pending),
                f"{view.outbox_oldest_seconds:.1f}",
                view.outbox_last_error or "-",
                str(view.feed_sequence),
            ]
        ],
    )
    due = [authority for authority in view.authorities if authority.due]
    if due:
        print_authorities("CAs that expire soon", due)


@click.command("audit")
@target_options
@click.option("--after", type=click.IntRange(0), default=0, help="Start after the entry with this number.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
def audit_command(target: Target, after: int, limit: int, as_json: bool) -> None:
    """Show the audit log: who changed what, and when, oldest first.

    \b
    Example:
      iot-registry audit --after 100 --json
    """
    with target.opened() as registry:
        found = registry.audit_log(after, limit)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        "Audit log",
        ["number", "time", "actor", "action", "target", "detail"],
        [
            [str(e.id), format_time(e.time), e.actor, e.action, e.target, json.dumps(e.detail) if e.detail else ""]
            for e in found.entries
        ],
    )
    if found.next is not None:
        people.print(f"There are more. For the next page: --after {found.next}")

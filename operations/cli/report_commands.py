"""The commands `status`, `nodes` and `audit`."""

from __future__ import annotations

import json

import click

from operations.cli.target import Target, target_options
from operations.service.schemas import NodeView
from web_service.cli import format_time, json_option, people, print_json, print_table


@click.command("status")
@target_options
@json_option
def status_command(target: Target, as_json: bool) -> None:
    """Show devices by standing, nodes, and whether the policy file is valid.

    \b
    Example:
      dane-operations status --json
    """
    with target.opened() as service:
        view = service.status()
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    print_table("Devices", ["standing", "count"], [[name, str(count)] for name, count in view.devices.items()])
    print_table(
        "Inventory",
        ["devices", "names that nobody has proven", "live sessions", "open questions", "last change"],
        [
            [
                str(view.inventory["yes"]),
                str(view.inventory["no"]),
                str(view.sessions),
                str(view.open_questions),
                str(view.feed_sequence),
            ]
        ],
    )
    _print_nodes(view.nodes)
    if view.policy and view.policy.error:
        people.print(f"The policy file is INVALID: {view.policy.error}", highlight=False)


@click.command("nodes")
@target_options
@json_option
def nodes_command(target: Target, as_json: bool) -> None:
    """List the RADIUS nodes that have reported, and how many decisions each could not send.

    \b
    Example:
      dane-operations nodes
    """
    with target.opened() as service:
        found = service.list_nodes()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    _print_nodes(found.nodes)


def _print_nodes(nodes: list[NodeView]) -> None:
    print_table(
        "RADIUS nodes",
        ["node", "last report", "decisions", "skipped", "lost"],
        [
            [node.name, format_time(node.last_seen), str(node.taken), str(node.skipped), str(node.lost)]
            for node in nodes
        ],
    )


@click.command("audit")
@click.option("--after", type=click.IntRange(0), default=0, help="Start after the entry with this number.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@target_options
@json_option
def audit_command(after: int, limit: int, target: Target, as_json: bool) -> None:
    """Show the audit log: who changed what, and when, oldest first.

    \b
    Example:
      dane-operations audit --after 100 --json
    """
    with target.opened() as service:
        found = service.audit_log(after, limit)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        "Audit log",
        ["number", "time", "actor", "action", "target", "detail"],
        [
            [
                str(entry.id),
                format_time(entry.time),
                entry.actor,
                entry.action,
                entry.target,
                json.dumps({key: value for key, value in entry.detail.items() if value is not None}),
            ]
            for entry in found.entries
        ],
    )
    if found.next:
        people.print(f"There are more. For the next page: --after {found.next}", highlight=False)

"""The commands `key add`, `key list` and `key revoke`."""

from __future__ import annotations

import datetime as dt

import click

from operations.cli.target import Target, target_options
from operations.service.access import Scope
from operations.service.schemas import KeyCreate
from web_service.cli import (
    SecretOutput,
    format_time,
    json_option,
    out_option,
    people,
    print_json,
    print_table,
)
from web_service.core import validate
from web_service.local import utc_now


@click.group()
def key() -> None:
    """API keys: each has scopes, and may be confined to one RADIUS node.

    \b
    Example:
      dane-operations key add radius-1 --scope feed:read --scope node:write --node radius-1
      dane-operations key add ids --scope standing:quarantine
    """


@key.command("add")
@click.argument("label")
@click.option("--scope", "scopes", type=click.Choice([s.value for s in Scope]), multiple=True, required=True)
@click.option("--node", help="Confine the key to reports of this RADIUS node.")
@click.option(
    "--days", type=click.FloatRange(min=0.00001), help="Lifetime in days. Default: that of the key that makes it."
)
@out_option
@target_options
@json_option
def add_key_command(
    label: str,
    scopes: tuple[str, ...],
    node: str | None,
    days: float | None,
    target: Target,
    as_json: bool,
    secret: SecretOutput,
) -> None:
    """Make an API key and print it, or write it to a new file.

    \b
    Example:
      dane-operations key add ids --scope standing:quarantine --days 365 --out ./ids.key
    """
    expires = utc_now() + dt.timedelta(days=days) if days else None
    data = {"label": label, "scopes": list(scopes), "node": node, "expires_at": expires}
    with target.opened() as service:
        created = service.create_key(validate(KeyCreate, data))
    if as_json:
        print_json(created.model_dump(mode="json"))
        return
    secret.write(created.secret, f"API key {created.key.id} ({', '.join(created.key.scopes)})")


@key.command("list")
@target_options
@json_option
def list_keys_command(target: Target, as_json: bool) -> None:
    """List the API keys, without their secrets.

    \b
    Example:
      dane-operations key list
    """
    with target.opened() as service:
        found = service.list_keys()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        "API keys",
        ["id", "label", "scopes", "node", "expires", "revoked"],
        [
            [
                view.id,
                view.label,
                ", ".join(view.scopes),
                view.node or "any",
                format_time(view.expires_at),
                format_time(view.revoked_at),
            ]
            for view in found.keys
        ],
    )


@key.command("revoke")
@click.argument("key_id")
@target_options
@json_option
def revoke_key_command(key_id: str, target: Target, as_json: bool) -> None:
    """Revoke an API key. It stops working at once.

    \b
    Example:
      dane-operations key revoke 0123456789ab
    """
    with target.opened() as service:
        revoked = service.revoke_key(key_id)
    if as_json:
        print_json(revoked.model_dump(mode="json"))
        return
    people.print(f"API key {revoked.id} ({revoked.label}) is revoked.", highlight=False)

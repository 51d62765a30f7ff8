"""The commands `key add`, `key list` and `key revoke`."""

from __future__ import annotations

import datetime as dt

import click

from iot_registry.cli.target import Target, target_options
from iot_registry.service.access import Scope
from iot_registry.service.schemas import KeyCreate
from web_service.cli import SecretOutput, format_time, json_option, out_option, people, print_json, print_table
from web_service.core import validate
from web_service.local import utc_now


@click.group()
def key() -> None:
    """API keys: each has scopes, and may be confined to one domain.

    \b
    Example:
      iot-registry key add trust-sync --scope feed:read
    """


@key.command("add")
@click.argument("label")
@click.option("--scope", "scopes", type=click.Choice([s.value for s in Scope]), multiple=True, required=True)
@click.option("--domain", "domain_name", help="Confine the key to this domain.")
@click.option(
    "--days", type=click.FloatRange(min=0.001), help="Lifetime in days. Default: that of the key that makes it."
)
@out_option
@target_options
@json_option
def add_key_command(
    label: str,
    scopes: tuple[str, ...],
    domain_name: str | None,
    days: float | None,
    target: Target,
    as_json: bool,
    secret: SecretOutput,
) -> None:
    """Make an API key and print it, or write it to a new file.

    \b
    Example:
      iot-registry key add trust-sync --scope feed:read --domain home.example --days 365 --out ./trust-sync.key
    """
    expires = utc_now() + dt.timedelta(days=days) if days else None
    data = {"label": label, "scopes": list(scopes), "domain": domain_name, "expires_at": expires}
    with target.opened() as registry:
        created = registry.create_key(validate(KeyCreate, data))
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
      iot-registry key list
    """
    with target.opened() as registry:
        found = registry.list_keys()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        "API keys",
        ["id", "label", "scopes", "domain", "expires", "revoked"],
        [
            [
                v.id,
                v.label,
                ", ".join(v.scopes),
                v.domain or "all",
                format_time(v.expires_at),
                format_time(v.revoked_at),
            ]
            for v in found.keys
        ],
    )


@key.command("revoke")
@click.argument("key_id")
@target_options
def revoke_key_command(key_id: str, target: Target) -> None:
    """Revoke an API key. It stops working at once.

    \b
    Example:
      iot-registry key revoke 0123456789ab
    """
    with target.opened() as registry:
        revoked = registry.revoke_key(key_id)
    people.print(f"API key {revoked.id} ({revoked.label}) is revoked.")

"""domain add|list and key add|list|revoke."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from iot_registry.cli.output import (
    Secret,
    checked,
    json_option,
    moment,
    now,
    out_option,
    people,
    print_json,
    table,
)
from iot_registry.cli.target import Target, target_options
from iot_registry.publication.profile import Profile
from iot_registry.service.access import Scope
from iot_registry.service.schemas import DomainCreate, KeyCreate

ROOT_KEY = click.option(
    "--root-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The root CA's key, if it is kept offline.",
)


@click.group()
def domain() -> None:
    """Identity domains: one for each household or vendor, isolated from each other.

    \b
    Example:
      iot-registry domain add smith.homes.example
    """


@domain.command("add")
@click.argument("name")
@click.option("--zone", help="The zone that holds its records. Default: NAME itself.")
@click.option("--profile", type=click.Choice([p.value for p in Profile]), help="TLSA records of its devices.")
@click.option("--ttl", type=click.IntRange(0, 86400), help="TTL of its TLSA records, in seconds.")
@ROOT_KEY
@out_option
@target_options
@json_option
def add_domain(
    name: str,
    zone: str | None,
    profile: str | None,
    ttl: int | None,
    root_key: Path | None,
    target: Target,
    as_json: bool,
    secret: Secret,
) -> None:
    """Make a domain: its issuing CA, its administrator's API key and, with a signer configured, its signed
    zone.

    \b
    Example:
      iot-registry domain add smith.homes.example --out ./smith.key
    """
    if root_key is not None and not target.is_local:
        raise click.UsageError("--root-key is for the registry's own machine, not for --url")
    wanted = checked(DomainCreate, {"name": name, "zone": zone, "profile": profile, "ttl": ttl})
    with target.opened(root_key=root_key) as registry:
        created = registry.create_domain(wanted)
    if as_json:
        print_json(created.model_dump(mode="json"))
        return
    people.print(f"{created.domain.name}: issuing CA {created.domain.issuing_ca_aki}, zone {created.domain.zone}")
    for record in created.ds:
        people.print(f"DS for the parent zone: {record}")
    for task in created.todo:
        people.print(f"To do: {task}")
    secret.put(created.admin_key, "API key of its administrator")


@domain.command("list")
@target_options
@json_option
def list_domains(target: Target, as_json: bool) -> None:
    """List the domains.

    \b
    Example:
      iot-registry domain list --json
    """
    with target.opened() as registry:
        found = registry.list_domains()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    table(
        "Domains",
        ["name", "zone", "profile", "TTL (s)", "devices", "issuing CA"],
        [[v.name, v.zone, v.profile, str(v.ttl), str(v.devices), v.issuing_ca_aki] for v in found.domains],
    )


@click.group()
def key() -> None:
    """API keys: what each may do, and where.

    \b
    Example:
      iot-registry key add trust-sync --scope feed:read
    """


@key.command("add")
@click.argument("label")
@click.option("--scope", "scopes", type=click.Choice([s.value for s in Scope]), multiple=True, required=True)
@click.option("--domain", "domain_name", help="Confine it to this domain.")
@click.option("--days", type=click.FloatRange(min=0.001), help="Let it expire after this many days.")
@out_option
@target_options
@json_option
def add_key(
    label: str,
    scopes: tuple[str, ...],
    domain_name: str | None,
    days: float | None,
    target: Target,
    as_json: bool,
    secret: Secret,
) -> None:
    """Make an API key and print it, or write it to a file of its own.

    \b
    Example:
      iot-registry key add trust-sync --scope feed:read --domain home.example --days 365 --out ./trust-sync.key
    """
    expires = now() + dt.timedelta(days=days) if days else None
    data = {"label": label, "scopes": list(scopes), "domain": domain_name, "expires_at": expires}
    with target.opened() as registry:
        created = registry.create_key(checked(KeyCreate, data))
    if as_json:
        print_json(created.model_dump(mode="json"))
        return
    secret.put(created.secret, f"Key {created.key.id} ({', '.join(created.key.scopes)})")


@key.command("list")
@target_options
@json_option
def list_keys(target: Target, as_json: bool) -> None:
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
    table(
        "API keys",
        ["id", "label", "scopes", "domain", "expires", "revoked"],
        [
            [
                v.id,
                v.label,
                ", ".join(v.scopes),
                v.domain or "all",
                moment(v.expires_at),
                moment(v.revoked_at),
            ]
            for v in found.keys
        ],
    )


@key.command("revoke")
@click.argument("key_id")
@target_options
def revoke_key(key_id: str, target: Target) -> None:
    """Make an API key useless, at once.

    \b
    Example:
      iot-registry key revoke 0123456789ab
    """
    with target.opened() as registry:
        revoked = registry.revoke_key(key_id)
    people.print(f"Key {revoked.id} ({revoked.label}) is revoked.")

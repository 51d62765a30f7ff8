"""The commands `domain add` and `domain list`."""

from __future__ import annotations

from pathlib import Path

import click

from iot_registry.cli.options import ROOT_KEY
from iot_registry.cli.target import Target, target_options
from iot_registry.core.tlsa import Profile
from iot_registry.service.schemas import DomainCreate
from web_service.cli import SecretOutput, json_option, out_option, people, print_json, print_table
from web_service.core import validate


@click.group()
def domain() -> None:
    """Identity domains, such as a household or a vendor, isolated from each other.

    \b
    Example:
      iot-registry domain add smith.homes.example
    """


@domain.command("add")
@click.argument("name")
@click.option("--zone", help="Zone that holds its records. Default: NAME.")
@click.option(
    "--profile",
    type=click.Choice([p.value for p in Profile]),
    help="Parameters of its TLSA records. Default: as configured.",
)
@click.option(
    "--ttl", type=click.IntRange(0, 86400), help="TTL of its TLSA records, in seconds. Default: as configured."
)
@ROOT_KEY
@out_option
@target_options
@json_option
def add_domain_command(
    name: str,
    zone: str | None,
    profile: str | None,
    ttl: int | None,
    root_key: Path | None,
    target: Target,
    as_json: bool,
    secret: SecretOutput,
) -> None:
    """Add a domain with its issuing CA, its administrator's API key and, if a signer is configured, its signed zone.

    \b
    Example:
      iot-registry domain add smith.homes.example --out ./smith.key
    """
    if root_key is not None and not target.is_local:
        raise click.UsageError("--root-key works on the registry's own machine only, without --url")
    wanted = validate(DomainCreate, {"name": name, "zone": zone, "profile": profile, "ttl": ttl})
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
    secret.write(created.admin_key, "API key of its administrator")


@domain.command("list")
@target_options
@json_option
def list_domains_command(target: Target, as_json: bool) -> None:
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
    print_table(
        "Domains",
        ["name", "zone", "profile", "TTL (s)", "devices", "issuing CA"],
        [[v.name, v.zone, v.profile, str(v.ttl), str(v.devices), v.issuing_ca_aki] for v in found.domains],
    )

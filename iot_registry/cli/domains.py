"""domain add|list and key add|list|revoke."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click
from pydantic import ValidationError
from sqlalchemy.orm import Session

from iot_registry.cli.output import (
    json_option,
    moment,
    now,
    opened,
    people,
    print_json,
    settings_options,
    table,
)
from iot_registry.config import Settings
from iot_registry.errors import Reason, Refused
from iot_registry.publication.profile import Profile
from iot_registry.service import access, domains, provision
from iot_registry.service.access import Scope
from iot_registry.service.schemas import DomainCreate
from iot_registry.service.views import key_view
from iot_registry.signer import create_signer
from iot_registry.store.models import Domain

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
@settings_options
@json_option
def add_domain(
    name: str,
    zone: str | None,
    profile: str | None,
    ttl: int | None,
    root_key: Path | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """Make a domain: its issuing CA, its administrator's API key and, with a signer configured, its signed
    zone.

    \b
    Example:
      iot-registry domain add smith.homes.example
    """
    try:
        wanted = DomainCreate.model_validate({"name": name, "zone": zone, "profile": profile, "ttl": ttl})
    except ValidationError as error:
        raise Refused(Reason.INVALID_FIELD, error.errors()[0]["msg"], field="name") from None
    with opened(settings, root_key=root_key) as registry:
        created = provision.add_domain(
            registry.database,
            registry.store,
            settings,
            create_signer(settings),
            registry.principal,
            wanted,
            now(),
        )
    if as_json:
        print_json(created.model_dump(mode="json"))
        return
    people.print(f"{created.domain.name}: issuing CA {created.domain.issuing_ca_aki}, zone {created.domain.zone}")
    for record in created.ds:
        people.print(f"DS for the parent zone: {record}")
    for task in created.todo:
        people.print(f"To do: {task}")
    people.print("API key of its administrator (shown only now):")
    click.echo(created.admin_key)


@domain.command("list")
@settings_options
@json_option
def list_domains(settings: Settings, as_json: bool) -> None:
    """List the domains.

    \b
    Example:
      iot-registry domain list --json
    """
    with opened(settings) as registry, registry.database.read() as session:
        views = domains.list_domains(session, registry.principal)
    if as_json:
        print_json({"domains": [view.model_dump(mode="json") for view in views]})
        return
    table(
        "Domains",
        ["name", "zone", "profile", "TTL (s)", "devices", "issuing CA"],
        [[v.name, v.zone, v.profile, str(v.ttl), str(v.devices), v.issuing_ca_aki] for v in views],
    )


@click.group()
def key() -> None:
    """API keys: what each may do, and where.

    \b
    Example:
      iot-registry key add trust-sync --scope feed:read
    """


def _domain(session: Session, principal: access.Principal, name: str | None) -> Domain | None:
    return domains.find_domain(session, principal, name) if name else None


@key.command("add")
@click.argument("label")
@click.option("--scope", "scopes", type=click.Choice([s.value for s in Scope]), multiple=True, required=True)
@click.option("--domain", "domain_name", help="Confine it to this domain.")
@click.option("--days", type=click.FloatRange(min=0.001), help="Let it expire after this many days.")
@settings_options
@json_option
def add_key(
    label: str,
    scopes: tuple[str, ...],
    domain_name: str | None,
    days: float | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """Make an API key and print it.

    \b
    Example:
      iot-registry key add trust-sync --scope feed:read --domain home.example --days 365
    """
    expires = now() + dt.timedelta(days=days) if days else None
    with opened(settings) as registry, registry.database.write() as session:
        row, secret = access.create_key(
            session,
            registry.principal,
            label[:100],
            frozenset(Scope(scope) for scope in scopes),
            now(),
            domain=_domain(session, registry.principal, domain_name),
            expires_at=expires,
        )
        session.flush()
        session.refresh(row)
        view = key_view(row)
    if as_json:
        print_json({"key": view.model_dump(mode="json"), "secret": secret})
        return
    people.print(f"Key {view.id} ({', '.join(view.scopes)}); shown only now:")
    click.echo(secret)


@key.command("list")
@settings_options
@json_option
def list_keys(settings: Settings, as_json: bool) -> None:
    """List the API keys, without their secrets.

    \b
    Example:
      iot-registry key list
    """
    with opened(settings) as registry, registry.database.read() as session:
        views = [key_view(row) for row in access.list_keys(session, registry.principal)]
    if as_json:
        print_json({"keys": [view.model_dump(mode="json") for view in views]})
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
            for v in views
        ],
    )


@key.command("revoke")
@click.argument("key_id")
@settings_options
def revoke_key(key_id: str, settings: Settings) -> None:
    """Make an API key useless, at once.

    \b
    Example:
      iot-registry key revoke 0123456789ab
    """
    with opened(settings) as registry, registry.database.write() as session:
        row = access.revoke_key(session, registry.principal, key_id, now())
        people.print(f"Key {row.id} ({row.label}) is revoked.")

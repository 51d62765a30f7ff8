"""ca list|renew."""

from __future__ import annotations

from pathlib import Path

import click

from iot_registry import names
from iot_registry.cli.domains import ROOT_KEY
from iot_registry.cli.output import json_option, moment, now, opened, people, print_json, settings_options, table
from iot_registry.cli.target import Target, target_options
from iot_registry.config import Settings
from iot_registry.service import succession
from iot_registry.service.schemas import AuthorityView


@click.group()
def ca() -> None:
    """The CAs: how long they last, and successors in time.

    \b
    Example:
      iot-registry ca list
      iot-registry ca renew home.example --root-key /media/usb/root.key
    """


@ca.command("list")
@target_options
@json_option
def list_(target: Target, as_json: bool) -> None:
    """List the CAs with their ends, and how many certificates of each are in use.

    \b
    Example:
      iot-registry ca list --json
    """
    with target.opened() as registry:
        found = registry.status().authorities
    if as_json:
        print_json({"authorities": [view.model_dump(mode="json") for view in found]})
        return
    show("CAs", found)


def show(title: str, authorities: list[AuthorityView]) -> None:
    table(
        title,
        ["domain", "CA", "state", "not after", "certificates in use", "key identifier"],
        [
            [
                view.domain or "-",
                view.kind if view.domain is None else f"{view.kind} {view.generation}",
                _state(view),
                moment(view.not_after),
                str(view.certificates),
                view.aki,
            ]
            for view in authorities
        ],
    )


def _state(view: AuthorityView) -> str:
    if view.due:
        return "DUE: iot-registry ca renew" if view.domain else "DUE"
    return "in use" if view.issuing else "leaving"


@ca.command()
@click.argument("domain")
@click.option("--force", is_flag=True, help="Also if none is due yet.")
@ROOT_KEY
@settings_options
@json_option
def renew(domain: str, force: bool, root_key: Path | None, settings: Settings, as_json: bool) -> None:
    """Give DOMAIN a new issuing CA before the old one ends, without locking any device out.

    New certificates come from the new CA at once. The old CA stays served and good for those it has issued; once the
    last of them was renewed or has expired it is retired, and its key destroyed. If its key may be in other hands,
    that is too slow: see `iot-registry rollover`. On the registry's own machine only.

    \b
    Example:
      iot-registry ca renew home.example --root-key /media/usb/root.key
    """
    with opened(settings, root_key=root_key) as registry:
        with registry.database.write() as session:
            row = succession.renew(
                session, registry.principal, registry.store, registry.settings, domain, now(), force=force
            )
        name = names.domain(domain)
        found = [view for view in registry.status().authorities if view.domain == name]
    if as_json:
        print_json({"authorities": [view.model_dump(mode="json") for view in found]})
        return
    people.print(f"New issuing CA {row.aki}, good until {moment(row.not_after)}.")
    show(f"CAs of {name}", found)

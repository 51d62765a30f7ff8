"""The commands `ca list` and `ca renew`."""

from __future__ import annotations

from pathlib import Path

import click

from iot_registry.cli.opening import opened
from iot_registry.cli.options import ROOT_KEY, settings_options
from iot_registry.cli.target import Target, target_options
from iot_registry.core import names
from iot_registry.local.config import Settings
from iot_registry.service import succession
from iot_registry.service.schemas import AuthorityView
from web_service.cli import format_time, json_option, people, print_json, print_table
from web_service.local import utc_now


@click.group()
def ca() -> None:
    """The CAs: when they expire, and their successors.

    \b
    Example:
      iot-registry ca list
      iot-registry ca renew home.example --root-key /media/usb/root.key
    """


@ca.command("list")
@target_options
@json_option
def list_cas_command(target: Target, as_json: bool) -> None:
    """List the CAs, when they expire, and how many certificates of each are in use.

    \b
    Example:
      iot-registry ca list --json
    """
    with target.opened() as registry:
        found = registry.status().authorities
    if as_json:
        print_json({"authorities": [view.model_dump(mode="json") for view in found]})
        return
    print_authorities("CAs", found)


def print_authorities(title: str, authorities: list[AuthorityView]) -> None:
    print_table(
        title,
        ["domain", "CA", "state", "not after", "certificates in use", "key identifier"],
        [
            [
                view.domain or "-",
                view.kind if view.domain is None else f"{view.kind} {view.generation}",
                _state(view),
                format_time(view.not_after),
                str(view.certificates),
                view.aki,
            ]
            for view in authorities
        ],
    )


def _state(view: AuthorityView) -> str:
    if view.due:
        return "DUE: iot-registry ca renew" if view.domain else "DUE"
    return "issuing" if view.issuing else "superseded"


@ca.command("renew")
@click.argument("domain")
@click.option("--force", is_flag=True, help="Make a successor even if none is due.")
@ROOT_KEY
@settings_options()
@json_option
def renew_command(domain: str, force: bool, root_key: Path | None, settings: Settings, as_json: bool) -> None:
    """Give DOMAIN a new issuing CA before the old one expires. No device has to enroll again.

    The new CA issues from now on. The old one stays published and valid for the certificates that it has issued. When
    the last of them is renewed or has expired, it is retired and its key deleted. If its key may be compromised, use
    `iot-registry rollover` instead. This command works on the registry's own machine only.

    \b
    Example:
      iot-registry ca renew home.example --root-key /media/usb/root.key
    """
    with opened(settings, root_key=root_key) as registry:
        with registry.database.write() as session:
            row = succession.renew(
                session, registry.principal, registry.store, registry.settings, domain, utc_now(), force=force
            )
        name = names.domain(domain)
        found = [view for view in registry.status().authorities if view.domain == name]
    if as_json:
        print_json({"authorities": [view.model_dump(mode="json") for view in found]})
        return
    people.print(f"New issuing CA {row.aki}, valid until {format_time(row.not_after)}.")
    print_authorities(f"CAs of {name}", found)

"""The commands `list` and `show`."""

from __future__ import annotations

import click

from operations.cli.target import Target, target_options
from operations.service.inventory import MAX_PAGE
from operations.service.schemas import DecisionView, DeviceDetail, DeviceSearch, DeviceView
from policy import Standing
from web_service.cli import format_time, json_option, people, print_json, print_table
from web_service.core import validate


@click.command("list")
@click.option("--zone", help="Only devices whose last admission was to this zone.")
@click.option(
    "--standing", type=click.Choice([standing.value for standing in Standing]), help="Only devices of this standing."
)
@click.option("--maker", help="Only devices of this maker, by its domain.")
@click.option("--type", "type_", help="Only this type, such as camera.")
@click.option("--search", help="Only names that contain this text.")
@click.option("--refused", is_flag=True, help="Only names that were refused, by whomever they were presented.")
@click.option("--online", is_flag=True, help="Only devices with a live session.")
@click.option("--unproven", is_flag=True, help="Also names that no device has proven to hold.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=100, show_default=True)
@click.option("--after", help="Start after this name.")
@target_options
@json_option
def list_command(
    zone: str | None,
    standing: str | None,
    maker: str | None,
    type_: str | None,
    search: str | None,
    refused: bool,
    online: bool,
    unproven: bool,
    limit: int,
    after: str | None,
    target: Target,
    as_json: bool,
) -> None:
    """List the devices that have been here, by name.

    \b
    Example:
      dane-operations list --zone appliance --refused --json
      dane-operations list --standing quarantined
    """
    wanted = {
        "zone": zone,
        "standing": standing,
        "maker": maker,
        "type": type_,
        "search": search,
        "refused": refused,
        "online": online,
        "unproven": unproven,
        "limit": limit,
        "after": after,
    }
    with target.opened() as service:
        page = service.list_devices(validate(DeviceSearch, wanted))
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    print_table(
        "Devices",
        ["name", "standing", "zone", "last admitted", "refusals", "last refusal", "place"],
        [
            [
                view.name,
                _standing(view),
                view.zone or "-",
                format_time(view.last_admitted),
                str(view.refusals),
                f"{view.refusal_reason or ''} {format_time(view.last_refused)}".strip(),
                view.ssid or view.nas or "-",
            ]
            for view in page.devices
        ],
    )
    if page.next:
        people.print(f"There are more. For the next page: --after {page.next}", highlight=False)


def _standing(view: DeviceView) -> str:
    marks = [view.standing]
    if view.approved:
        marks.append("approved")
    if view.online:
        marks.append("online")
    if not view.proven:
        marks.append("never seen" if view.last_seen is None else "not proven")
    return ", ".join(marks)


@click.command("show")
@click.argument("name")
@target_options
@json_option
def show_command(name: str, target: Target, as_json: bool) -> None:
    """Show one device: its standing, places, sessions, admissions and refusals.

    \b
    Example:
      dane-operations show a1b2c3.camera._device.example.net
    """
    with target.opened() as service:
        view = service.show_device(name)
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    _print_detail(view)


def _print_detail(view: DeviceDetail) -> None:
    standing = view.standing_detail
    print_table(
        view.name,
        ["", ""],
        [
            ["standing", _standing(view)],
            ["since", f"{format_time(standing.since)} by {standing.by or '-'}: {standing.reason or '-'}"],
            ["until", f"{format_time(standing.until)}, then {standing.then}" if standing.until else "-"],
            ["maker", view.maker],
            ["type", view.type or "-"],
            ["zone", view.zone or "-"],
            ["rule", view.rule or "-"],
            ["certificate", view.certificate or "-"],
            ["TLSA records", "\n".join(view.records) or "-"],
            ["first seen", format_time(view.first_seen)],
            ["last seen", format_time(view.last_seen)],
            ["admissions", str(view.admissions)],
            ["refusals of this name", str(view.refusals)],
        ],
    )
    print_table(
        "Live sessions",
        ["node", "session", "station", "NAS", "SSID", "since"],
        [[s.node, s.id, s.station or "-", s.nas or "-", s.ssid or "-", format_time(s.since)] for s in view.sessions],
    )
    print_table(
        "Places",
        ["station", "NAS", "SSID", "first seen", "last seen"],
        [
            [p.station or "-", p.nas or "-", p.ssid or "-", format_time(p.first_seen), format_time(p.last_seen)]
            for p in view.places
        ],
    )
    _print_decisions("Admissions, the latest first", view.admissions_kept)
    _print_decisions("Refusals of this name, the latest first", view.refusals_kept)


def _print_decisions(title: str, decisions: list[DecisionView]) -> None:
    print_table(
        title,
        ["time", "node", "reason", "zone", "station", "NAS", "SSID", "detail"],
        [
            [
                format_time(d.at),
                d.node,
                d.reason,
                d.zone or "-",
                d.station or "-",
                d.nas or "-",
                d.ssid or "-",
                d.detail or "-",
            ]
            for d in decisions
        ],
    )

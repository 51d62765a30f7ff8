"""The commands `quarantine`, `watch`, `block`, `release` and `history`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from operations.cli.options import ending_options
from operations.cli.target import Target, target_options
from operations.service.schemas import HistoryEntry, Release, StandingChange, StandingResult
from policy import Standing
from web_service.cli import format_time, json_option, people, print_json, print_table
from web_service.core import validate

Command = TypeVar("Command", bound=Callable[..., Any])

REASON = click.option("--reason", default="", help="Why, for the history.")
ZONE = click.option("--zone", help="A zone of the policy, instead of the one that the policy has for quarantine.")


def _set(target: Target, name: str, standing: Standing, as_json: bool, fields: dict[str, Any]) -> None:
    wanted = validate(StandingChange, {"standing": standing.value, **fields})
    with target.opened() as service:
        result = service.set_standing(name, wanted)
    print_result(result, as_json)


def print_result(result: StandingResult, as_json: bool) -> None:
    if as_json:
        print_json(result.model_dump(mode="json"))
        return
    text = f"{result.name}: {result.standing}"
    if result.approved:
        text += ", approved"
    if result.zone:
        text += f", zone {result.zone}"
    if result.until:
        text += f", until {format_time(result.until)}, then {result.then}"
        if result.then_zone:
            text += f" in zone {result.then_zone}"
    if result.maker_approved and not result.approved:
        text += "; it counts as approved, since its maker is"
    if not result.changed:
        text += " (as before)"
    people.print(text, highlight=False)


@click.command("quarantine")
@click.argument("name")
@REASON
@ZONE
@ending_options
@target_options
@json_option
def quarantine_command(
    name: str, reason: str, zone: str | None, ending: dict[str, Any], target: Target, as_json: bool
) -> None:
    """Isolate a device: its session ends or moves, and it joins the quarantine zone only.

    \b
    Example:
      dane-operations quarantine a1b2c3.camera._device.example.net --reason "scans the network" --for 24h
    """
    _set(target, name, Standing.QUARANTINED, as_json, {"reason": reason, "zone": zone, **ending})


@click.command("watch")
@click.argument("name")
@REASON
@ending_options
@target_options
@json_option
def watch_command(name: str, reason: str, ending: dict[str, Any], target: Target, as_json: bool) -> None:
    """Mark a device as watched. Its access stays as it is, unless the policy has rules for watched devices.

    \b
    Example:
      dane-operations watch a1b2c3.camera._device.example.net --reason "unusual traffic" --for 7d
    """
    _set(target, name, Standing.WATCHED, as_json, {"reason": reason, **ending})


@click.command("block")
@click.argument("name")
@REASON
@ending_options
@target_options
@json_option
def block_command(name: str, reason: str, ending: dict[str, Any], target: Target, as_json: bool) -> None:
    """Refuse a device everywhere.

    \b
    Example:
      dane-operations block a1b2c3.camera._device.example.net --reason stolen
    """
    _set(target, name, Standing.BLOCKED, as_json, {"reason": reason, **ending})


@click.command("release")
@click.argument("name")
@click.option("--reason", required=True, help="What was checked, for the history.")
@ending_options
@target_options
@json_option
def release_command(name: str, reason: str, ending: dict[str, Any], target: Target, as_json: bool) -> None:
    """End the quarantine, watch or block of a device. docs/quarantine.md says what to check before.

    \b
    Example:
      dane-operations release a1b2c3.camera._device.example.net --reason "new firmware 2.1 installed"
      dane-operations release a1b2c3.camera._device.example.net --reason trial --for 2h --then quarantined
    """
    wanted = validate(Release, {"reason": reason, **ending})
    with target.opened() as service:
        result = service.release(name, wanted)
    print_result(result, as_json)


def _afterwards(entry: HistoryEntry) -> str:
    return f"{entry.then}, zone {entry.then_zone}" if entry.then_zone else entry.then


@click.command("history")
@click.argument("name")
@target_options
@json_option
def history_command(name: str, target: Target, as_json: bool) -> None:
    """Show every change of a device's standing: when, by whom and why.

    \b
    Example:
      dane-operations history a1b2c3.camera._device.example.net
    """
    with target.opened() as service:
        found = service.history(name)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    print_table(
        f"History of {found.name}",
        ["time", "standing", "zone", "until", "then", "by", "reason"],
        [
            [
                format_time(entry.time),
                f"{entry.standing}{', approved' if entry.approved else ''}",
                entry.zone or "-",
                format_time(entry.until),
                _afterwards(entry) if entry.until else "-",
                entry.by,
                entry.reason or "-",
            ]
            for entry in found.entries
        ],
    )

"""`trust-sync status`."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from dane_radius.local import ConfigError, ControlError, ask
from trust_sync.cli.common import config_option, fail, format_duration, json_option, out, print_json
from trust_sync.shared import load_config


@click.command()
@config_option
@json_option
def status(config_path: str, as_json: bool) -> None:
    """Show anchors, their age, sources and failures, and sessions that are still to be ended.

    \b
    Example:
      trust-sync status --json
    """
    try:
        config, _ = load_config(config_path)
        found = ask(config.socket, "status")
    except (ConfigError, ControlError) as error:
        fail(str(error))
    found.pop("ok", None)
    if as_json:
        print_json(found)
        return
    out.print(f"trust-sync {found['version']}, started {found['started']}, socket {config.socket}")
    if found["state_error"]:
        out.print(f"[red]state cannot be saved:[/] {escape(found['state_error'])}")
    out.print(_anchor_table(found["anchors"], found["anchor_count"]))
    for name, feed in found["registries"].items():
        out.print(f"registry {name}: {_describe_registry(feed)}")
    if found["operations"] is not None:
        _print_operations(found["operations"])
    for name, item in found["discovered"].items():
        out.print(f"name {escape(name)}: {_describe_name(item)}")
    _print_sessions(found["sessions"])


def _anchor_table(anchors: list[dict[str, Any]], count: int) -> Table:
    table = Table("subject", "domains", "source", "age", "not after", "names", title=f"{count} anchors")
    for anchor in anchors:
        retires = anchor["retires_in_seconds"]
        names = str(anchor["names"]) if retires is None else f"none; removed in {format_duration(retires)}"
        table.add_row(
            escape(anchor["subject"]),
            escape(", ".join(anchor["domains"])),
            anchor["source"],
            format_duration(anchor["age_seconds"]),
            anchor["not_after"],
            "" if anchor["source"] in ("registry", "manual") else names,
        )
    return table


def _print_operations(found: dict[str, Any]) -> None:
    out.print(f"operations {found['url']}: {_describe_registry(found)}")
    if not found["usable"]:
        out.print("[red]standing: no usable journal; the module refuses every device until the service answers[/]")
    if found["problem"]:
        out.print(f"[red]standing:[/] {escape(found['problem'])}")
    counts = ", ".join(f"{count} {standing}" for standing, count in found["standing"].items() if count)
    out.print(f"standing: {counts or 'no device'}; {found['approved']} approved, {found['makers']} makers")
    if found["kept"]:
        out.print(f"[red]{found['kept']} standings are not confirmed by the service[/] (trust-sync standing adopt)")
    for report, error in (found["reports"] or {}).items():
        if error:
            out.print(f"[red]{report} not reported:[/] {escape(error)}")
    if found["decisions_lost"]:
        out.print(f"[red]{found['decisions_lost']} decisions were never reported[/]")
    if found["waiting_for_accounting"]:
        out.print(f"[red]{found['waiting_for_accounting']} changes of standing wait for accounting[/]")


def _describe_registry(feed: dict[str, Any]) -> str:
    reached, retry = feed["last_success_seconds"], feed["retry_in_seconds"]
    last = "never reached" if reached is None else f"last reached {format_duration(reached)} ago"
    parts = [last, f"at change {feed['seq']}"]
    if feed["comparison_in_seconds"] is not None:
        parts.append(f"next full comparison in {format_duration(feed['comparison_in_seconds'])}")
    if feed["error"]:
        parts.append(f"[red]{feed['failures']} failures, last: {escape(feed['error'])}[/]")
    if retry is not None:
        parts.append(f"next attempt in {format_duration(retry)}")
    return ", ".join(parts)


def _describe_name(item: dict[str, Any]) -> str:
    problem = f"; [red]{item['failures']} failures, last: {escape(item['error'])}[/]" if item["error"] else ""
    nothing = "" if item["fingerprints"] else "nothing found, "
    return f"{nothing}next refresh in {format_duration(max(0, item['refresh_in_seconds']))}{problem}"


def _print_sessions(sessions: dict[str, Any]) -> None:
    if sessions["error"]:
        out.print(f"[red]sessions cannot be read:[/] {escape(sessions['error'])}")
    out.print(f"{sessions['watched_names']} names with live sessions, {len(sessions['pending'])} sessions to be ended")
    for item in sessions["pending"]:
        out.print(
            f"  [red]{escape(item['name'])}[/] at NAS {item['nas']}: {item['cause']}, {item['attempts']} attempts in "
            f"{format_duration(item['since_seconds'])}, {escape(item['reply'])}; "
            f"next in {format_duration(item['retry_in_seconds'])}"
        )

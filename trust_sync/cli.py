"""The `trust-sync` command. Exit codes: 0 done, 1 refused or failed, 2 usage."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from typing import Any, NoReturn

import click
import structlog
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from dane_radius.core import AnchorRecord, AnchorSource, Refused, identity_domain, normalize
from dane_radius.local import AnchorDirectory, ConfigError, ControlError, Logger, ask
from policy import PolicyError, load_policy
from trust_sync import __version__
from trust_sync.config import DEFAULT_CONFIG, Config, load
from trust_sync.discovery import Discoverer, Outcome
from trust_sync.lookup import Lookup
from trust_sync.reasons import State
from trust_sync.store import StoreError
from trust_sync.worker import Progress as StepProgress
from trust_sync.worker import Worker, make_fetcher, run, utc_now

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)

config_option = click.option(
    "--config",
    "config_path",
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The worker's configuration (TOML).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _fail(message: str) -> NoReturn:
    _err.print(f"[red]trust-sync:[/] {escape(message)}")
    sys.exit(1)


def _print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Keep trust anchors current, find them just in time, and end sessions of revoked devices."""


@main.command("run")
@config_option
def run_command(config_path: str) -> None:
    """Run the worker until it is told to stop (SIGTERM).

    \b
    Example:
      trust-sync run --config /etc/dane-radius/trust-sync.toml
    """
    try:
        run(*load(config_path))
    except (ConfigError, PolicyError, StoreError) as error:
        _fail(str(error))


@main.command()
@config_option
@json_option
def once(config_path: str, as_json: bool) -> None:
    """Synchronize everything once, for cron. Fails if any source did.

    \b
    Example:
      trust-sync once --config /etc/dane-radius/trust-sync.toml
    """
    try:
        summary = asyncio.run(_once(config_path, quiet=as_json))
    except (ConfigError, PolicyError, StoreError) as error:
        _fail(str(error))
    if as_json:
        _print_json(summary)
    else:
        _out.print(
            f"{summary['anchors']} anchors ({summary['added']} added, {summary['removed']} removed), "
            f"{summary['registries']} registries, {summary['names']} names looked after, "
            f"{summary['watched']} names with live sessions"
        )
        for warning in summary["warnings"]:
            _err.print(f"[yellow]warning:[/] {escape(warning)}")
        for failure in summary["failures"]:
            _err.print(f"[red]failed:[/] {escape(failure)}")
    sys.exit(1 if summary["failures"] else 0)


async def _once(config_path: str, *, quiet: bool) -> dict[str, Any]:
    config, module = load(config_path)
    warnings: list[str] = []
    # What a service would write to its journal becomes part of the summary here.
    log = _collect(warnings) if config.log.destination == "stderr" else None
    worker = Worker(config, module, log)
    # A bar is for somebody who watches: cron and pipes get the summary alone.
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = Progress(*columns, TimeElapsedColumn(), console=_err, transient=True, disable=quiet or not _err.is_terminal)
    try:
        with shown:
            summary = await worker.once(_Bars(shown))
    finally:
        await worker.close()
    return {**summary, "warnings": warnings}


def _collect(into: list[str]) -> Logger:
    """A log whose warnings and errors become lines of text."""

    def render(_logger: Any, _method: str, event: structlog.typing.EventDict) -> tuple[tuple[str], dict[str, Any]]:
        event.pop("exc_info", None)
        fields = ", ".join(f"{key} {value}" for key, value in event.items() if key != "event")
        return (f"{event['event']}: {fields}" if fields else str(event["event"]),), {}

    class Lines:
        def msg(self, text: str) -> None:
            into.append(text)

        warning = error = critical = exception = msg

    logger: Logger = structlog.wrap_logger(
        Lines(), processors=[render], wrapper_class=structlog.make_filtering_bound_logger("warning")
    ).bind()
    return logger


class _Bars(StepProgress):
    """Two bars: the sources, and the anchors of the present one."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._sources = shown.add_task("sources", total=None)
        self._anchors: TaskID | None = None
        self._begun = 0

    def expect(self, sources: int) -> None:
        self._shown.update(self._sources, total=sources)

    def source(self, what: str) -> None:
        self._shown.update(self._sources, description=escape(what), completed=self._begun)
        self._begun += 1
        if self._anchors is not None:
            self._shown.remove_task(self._anchors)
            self._anchors = None

    def anchors(self, done: int, total: int) -> None:
        if self._anchors is None:
            self._anchors = self._shown.add_task("anchors", total=total)
        self._shown.update(self._anchors, completed=done, total=total)

    def done(self) -> None:
        self._shown.update(self._sources, completed=self._begun)


class _ReadOnlyAnchors:
    """What is on disk, for a look that changes nothing."""

    def __init__(self, path: str) -> None:
        self._directory = AnchorDirectory(path)
        self._directory.refresh()

    def for_domain(self, domain: str) -> list[AnchorRecord]:
        return [anchor.record for anchor in self._directory.for_name(f"device.{domain}")]

    def get(self, fingerprint: str) -> AnchorRecord | None:
        del fingerprint
        return None

    def count_discovered(self, domain: str) -> int:
        del domain
        return 0

    @property
    def discovered(self) -> int:
        return 0

    def add(
        self, certificate: Any, domains: tuple[str, ...], source: AnchorSource, fetched: datetime
    ) -> AnchorRecord | None:
        raise NotImplementedError("nothing is installed by a look")


@main.command()
@click.argument("name")
@config_option
@json_option
@click.option("--install", is_flag=True, help="Have the running worker install what it finds, within its limits.")
def discover(name: str, config_path: str, as_json: bool, install: bool) -> None:
    """Show, step by step, which trust anchor would be found for a device name. Changes nothing without --install.

    \b
    Example:
      trust-sync discover a1b2c3.camera._device.example.net
    """
    try:
        if install:
            config, _ = load(config_path)
            outcome = ask(config.socket, "discover", name=name, wait=config.discovery.timeout, timeout=60)
        else:
            outcome = asyncio.run(_discover(config_path, normalize(name.encode()))).to_json()
    except Refused as error:
        raise click.BadParameter(error.detail, param_hint="NAME") from error
    except (ConfigError, PolicyError, ControlError) as error:
        _fail(str(error))
    if as_json:
        _print_json(outcome)
    else:
        for step in outcome["steps"]:
            _out.print(f"  {escape(step)}")
        colour = "red" if outcome["state"] == State.REFUSED else "green"
        _out.print(f"[{colour}]{outcome['state']}[/] ({outcome['reason']}): {escape(outcome['detail'])}")
    sys.exit(1 if outcome["state"] == State.REFUSED else 0)


async def _discover(config_path: str, name: str) -> Outcome:
    config, module = load(config_path)
    policy = load_policy(module.policy)
    anchors = _ReadOnlyAnchors(module.anchors)
    lookup = Lookup(module.resolver)
    try:
        discoverer = Discoverer(
            config.discovery, lambda: policy, anchors, lookup, make_fetcher(config, lookup), utc_now
        )
        outcome = await discoverer.discover(name, install=False, fresh=True)
    finally:
        await lookup.close()
    domain = identity_domain(name)
    held = ", ".join(record.subject for record in anchors.for_domain(domain)) or "none"
    first = (f"policy: {'could grant access' if policy.could_grant(name) else 'no rule gives this name access'}",)
    steps = (*first, f"anchors held for {domain}: {held}", *outcome.steps)
    return Outcome(
        outcome.name, outcome.state, outcome.reason, outcome.detail, steps, outcome.fingerprint, outcome.source
    )


@main.command()
@config_option
@json_option
def status(config_path: str, as_json: bool) -> None:
    """Show anchors, their age, sources and failures, and sessions that are still to be ended.

    \b
    Example:
      trust-sync status --json
    """
    try:
        config, _ = load(config_path)
        found = ask(config.socket, "status")
    except (ConfigError, ControlError) as error:
        _fail(str(error))
    found.pop("ok", None)
    if as_json:
        _print_json(found)
    else:
        _show_status(config, found)


def _show_status(config: Config, found: dict[str, Any]) -> None:
    _out.print(f"trust-sync {found['version']}, started {found['started']}, socket {config.socket}")
    if found["state_error"]:
        _out.print(f"[red]state cannot be saved:[/] {escape(found['state_error'])}")
    anchors = Table(
        "subject", "domains", "source", "age", "not after", "names", title=f"{found['anchor_count']} anchors"
    )
    for anchor in found["anchors"]:
        age = _duration(anchor["age_seconds"])
        domains = ", ".join(anchor["domains"])
        leaving = anchor["retires_in_seconds"]
        names = str(anchor["names"]) if leaving is None else f"none; goes in {_duration(leaving)}"
        anchors.add_row(
            escape(anchor["subject"]), escape(domains), anchor["source"], age, anchor["not_after"],
            "" if anchor["source"] in ("registry", "manual") else names,
        )  # fmt: skip
    _out.print(anchors)
    for name, feed in found["registries"].items():
        _out.print(f"registry {name}: {_heard(feed)}")
    for name, item in found["discovered"].items():
        problem = f"; [red]{item['failures']} failures, last: {escape(item['error'])}[/]" if item["error"] else ""
        nothing = "" if item["fingerprints"] else "nothing found, "
        when = _duration(max(0, item["refresh_in_seconds"]))
        _out.print(f"name {escape(name)}: {nothing}looked at again in {when}{problem}")
    sessions = found["sessions"]
    if sessions["error"]:
        _out.print(f"[red]sessions cannot be read:[/] {escape(sessions['error'])}")
    _out.print(f"{sessions['watched_names']} names with live sessions, {len(sessions['pending'])} sessions to be ended")
    for end in sessions["pending"]:
        _out.print(
            f"  [red]{escape(end['name'])}[/] at NAS {end['nas']}: {end['cause']}, {end['attempts']} attempts in "
            f"{_duration(end['since_seconds'])}, {escape(end['reply'])}; next in {_duration(end['retry_in_seconds'])}"
        )


def _heard(feed: dict[str, Any]) -> str:
    heard, retry = feed["last_success_seconds"], feed["retry_in_seconds"]
    parts = ["never heard" if heard is None else f"heard {_duration(heard)} ago", f"at change {feed['seq']}"]
    if feed["comparison_in_seconds"] is not None:
        parts.append(f"compared as a whole in {_duration(feed['comparison_in_seconds'])}")
    if feed["error"]:
        parts.append(f"[red]{feed['failures']} failures, last: {escape(feed['error'])}[/]")
    if retry is not None:
        parts.append(f"tried again in {_duration(retry)}")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    main()

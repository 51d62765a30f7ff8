"""`trust-sync once`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
import structlog
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

from dane_radius.local import ConfigError, Logger
from policy import PolicyError
from trust_sync.anchors import StoreError
from trust_sync.cli.common import config_option, err, fail, json_option, out, print_json
from trust_sync.shared import load_config
from trust_sync.standing import JournalError
from trust_sync.worker import Worker, synchronize_once


@click.command()
@config_option
@json_option
def once(config_path: str, as_json: bool) -> None:
    """Synchronize everything once, for cron. Fails if any source failed.

    \b
    Example:
      trust-sync once --config /etc/dane-radius/trust-sync.toml
    """
    try:
        summary = asyncio.run(_synchronize(config_path, show_progress=not as_json and err.is_terminal))
    except (ConfigError, PolicyError, StoreError, JournalError) as error:
        fail(str(error))
    if as_json:
        print_json(summary)
    else:
        _print_summary(summary)
    sys.exit(1 if summary["failures"] else 0)


async def _synchronize(config_path: str, *, show_progress: bool) -> dict[str, Any]:
    """Synchronize, and return the summary with the warnings that a service would log."""
    config, module = load_config(config_path)
    warnings = WarningLog()
    worker = Worker(config, module, warnings.logger if config.log.destination == "stderr" else None)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = Progress(*columns, TimeElapsedColumn(), console=err, transient=True, disable=not show_progress)
    try:
        with bars:
            summary = await synchronize_once(worker, _Bars(bars))
    finally:
        await worker.close()
    return {**summary.to_json(), "warnings": warnings.lines}


def _print_summary(summary: dict[str, Any]) -> None:
    out.print(
        f"{summary['anchors']} anchors ({summary['added']} added, {summary['removed']} removed), "
        f"{summary['registries']} registries, {summary['names']} names refreshed, "
        f"{summary['watched']} names with live sessions"
    )
    for warning in summary["warnings"]:
        err.print(f"[yellow]warning:[/] {escape(warning)}")
    for failure in summary["failures"]:
        err.print(f"[red]failed:[/] {escape(failure)}")


class WarningLog:
    """Collects warnings and errors of a logger as lines of text."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.logger: Logger = structlog.wrap_logger(
            self, processors=[_render], wrapper_class=structlog.make_filtering_bound_logger("warning")
        ).bind()

    def msg(self, text: str) -> None:
        """Collect a line."""
        self.lines.append(text)

    warning = error = critical = exception = msg


def _render(_logger: Any, _method: str, event: structlog.typing.EventDict) -> tuple[tuple[str], dict[str, Any]]:
    event.pop("exc_info", None)
    fields = ", ".join(f"{key} {value}" for key, value in event.items() if key != "event")
    return (f"{event['event']}: {fields}" if fields else str(event["event"]),), {}


class _Bars:
    """Shows two progress bars: the sources, and the anchors of the current source."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._sources = progress.add_task("sources", total=None)
        self._anchors: TaskID | None = None
        self._begun = 0

    def begin(self, sources: int) -> None:
        """Set the total of the first bar."""
        self._progress.update(self._sources, total=sources)

    def begin_source(self, source: str) -> None:
        """Advance the first bar, and remove the second."""
        self._progress.update(self._sources, description=escape(source), completed=self._begun)
        self._begun += 1
        if self._anchors is not None:
            self._progress.remove_task(self._anchors)
            self._anchors = None

    def compare_anchors(self, done: int, total: int) -> None:
        """Show or advance the second bar."""
        if self._anchors is None:
            self._anchors = self._progress.add_task("anchors", total=total)
        self._progress.update(self._anchors, completed=done, total=total)

    def finish(self) -> None:
        """Complete the first bar."""
        self._progress.update(self._sources, completed=self._begun)

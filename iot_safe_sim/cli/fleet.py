"""`iot-safe-sim enroll --bundles`: a fleet."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from iot_safe_sim.cli.common import print_json
from iot_safe_sim.device import Bundle, BundleError, DeviceResult, TlsaWait, enroll_fleet, read_bundles


def enroll_bundles(
    lines: TextIO, count: int | None, state: Path, key_store: str, jobs: int, wait: TlsaWait | None, as_json: bool
) -> None:
    """Enroll the device of each line, with a progress bar. Exits with code 1 when one of them fails."""
    bundles = list(read_bundles(lines, count))
    first = _first_name(bundles)
    if wait is not None and first is not None:
        wait = wait.checked(first)
    failed = 0
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("enrolling", total=len(bundles))

        def done(result: DeviceResult) -> None:
            nonlocal failed
            failed += result.error is not None
            progress.advance(task)
            if as_json:
                print_json(vars(result))
            elif result.error is not None:
                click.echo(f"line {result.line} {result.name or ''}: {result.error}", err=True)

        enroll_fleet(bundles, state, key_store=key_store, jobs=jobs, tlsa_wait=wait, done=done)
    if not as_json:
        click.echo(f"{len(bundles) - failed} of {len(bundles)} devices enrolled")
    if failed:
        raise SystemExit(1)


def _first_name(bundles: list[tuple[int, str]]) -> str | None:
    """The first device of a fleet whose bundle can be read."""
    for _line, text in bundles:
        with contextlib.suppress(BundleError):
            return Bundle.parse(text).name
    return None

"""The command `device import`."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click
from rich.progress import Progress

from iot_registry.cli.target import Target, target_options
from web_service.cli import people


@click.command("import")
@click.argument("source", type=click.File("r", encoding="utf-8"))
@click.option(
    "--output", type=click.File("w", encoding="utf-8"), default="-", help="File for the results; it gets mode 0600."
)
@target_options
def import_command(source: TextIO, output: TextIO, target: Target) -> None:
    """Register many devices from a CSV (with a header) or JSON-lines file.

    Fields: label, type, and optionally domain, mud_url, profile, csr. With csr (a PKCS #10 request in PEM or base64),
    the device gets its certificate now, without a token; csr cannot be used with --url. The result of each line is a
    JSON object with name and bundle, certificate, or error. A refused line does not stop the import; the exit code is
    1 if there was any. Devices that exist already are refused, so that an interrupted import can be run again.

    \b
    Example:
      iot-registry device import factory.csv --output bundles.jsonl
    """
    failed = done = 0
    _keep_private(output)
    with target.opened() as registry:
        entries = list(_entries(source))
        with Progress(console=people, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("importing", total=len(entries))
            for result in registry.import_devices(entries):
                failed += "error" in result
                done += "error" not in result
                output.write(json.dumps(result) + "\n")
                progress.advance(task)
    people.print(f"{done} registered, {failed} refused")
    if failed:
        sys.exit(1)


def _keep_private(output: TextIO) -> None:
    """Make a file of bundles readable by its owner only. A terminal or a pipe is left alone."""
    with contextlib.suppress(io.UnsupportedOperation):
        if stat.S_ISREG(os.fstat(output.fileno()).st_mode):
            os.fchmod(output.fileno(), 0o600)


def _entries(source: TextIO) -> Iterator[dict[str, Any]]:
    first = source.readline()
    rest = (line for line in source if line.strip())
    if first.lstrip().startswith("{"):
        for number, line in enumerate([first, *rest], start=1):
            yield {"line": number, **_json_line(line)}
        return
    columns = next(csv.reader([first]), [])
    for number, values in enumerate(csv.reader(rest), start=2):
        cells = dict(zip(columns, values, strict=False))
        yield {"line": number, "data": {key: value for key, value in cells.items() if value != ""}}


def _json_line(line: str) -> dict[str, Any]:
    try:
        return {"data": json.loads(line)}
    except ValueError as error:
        return {"data": None, "error": f"not JSON: {error}"}

"""`iot-safe-sim status`: what is on the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from iot_safe_sim.card import Card, StateError, key_store_of
from iot_safe_sim.cli.common import print_json, reported_errors, state_option
from iot_safe_sim.device import describe_certificate
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport


@click.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(state: Path, as_json: bool) -> None:
    """Show the card: its key store, its containers, and the device certificate.

    The card must not be in use by a running modem.

    \b
    Example:
      iot-safe-sim status --state /var/lib/iot-safe-sim --json
    """
    with reported_errors():
        if key_store_of(state) is None:
            raise StateError(f"{state}: there is no card here")
        with Card(state) as card:
            report = _report(card)
    if as_json:
        print_json(report)
        return
    _show(report)


def _report(card: Card) -> dict[str, Any]:
    store = card.applet.store
    client = IoTSafeClient(MemoryTransport(card.applet))
    return {
        "key_store": card.keys.name,
        "private_keys": [
            {"id": key.id.hex(), "label": key.label, "filled": key.filled} for key in store.private_keys.values()
        ],
        "files": [{"id": file.id.hex(), "label": file.label, "size": file.size} for file in store.files.values()],
        "certificate": describe_certificate(client),
    }


def _show(report: dict[str, Any]) -> None:
    console = Console()
    console.print(f"key store: {report['key_store']}")
    table = Table("kind", "id", "label", "content")
    for key in report["private_keys"]:
        table.add_row("key", key["id"], key["label"], "present" if key["filled"] else "empty")
    for file in report["files"]:
        table.add_row("file", file["id"], file["label"], f"{file['size']} bytes" if file["size"] else "empty")
    console.print(table)
    certificate = report["certificate"]
    if certificate is None:
        console.print("certificate: none (not enrolled)")
    else:
        console.print(f"certificate: {certificate['name']}, valid until {certificate['not_after']}")

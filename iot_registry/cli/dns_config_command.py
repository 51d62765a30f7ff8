"""The command `dns-config`."""

from __future__ import annotations

from pathlib import Path

import click
from sqlalchemy import select

from iot_registry.cli.opening import opened
from iot_registry.cli.options import settings_options
from iot_registry.local import tsig_keys
from iot_registry.local.config import Settings
from iot_registry.signer import config_files
from iot_registry.store.models import Domain
from web_service.cli import json_option, people, print_json
from web_service.local import parse_endpoint, write_private


@click.command("dns-config")
@settings_options()
@click.option("--server", "kind", type=click.Choice(["knot", "bind"]), default="knot", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory for the name server's files: configuration, zones, keys, journal.",
)
@click.option("--force", is_flag=True, help="Overwrite existing configuration files.")
@json_option
def dns_config_command(settings: Settings, kind: str, output: Path, force: bool, as_json: bool) -> None:
    """Write a configuration for Knot DNS or BIND that signs the registry's zones and accepts its updates.

    Existing files are kept; --force overwrites configuration, never zones. The configuration holds the TSIG secret:
    only the name server's user may be able to read the directory.

    \b
    Example:
      iot-registry dns-config --output ./dns && knotd -c "$PWD/dns/knot.conf"
    """
    folder = output.absolute()
    with opened(settings) as registry, registry.database.read() as session:
        zones = sorted(set(session.scalars(select(Domain.zone))))
    key = tsig_keys.load_or_create(settings.tsig_key_file)
    written = _write_dns(folder, kind, settings, key, zones, force)
    if as_json:
        print_json({"files": [str(path) for path in written], "zones": zones})
        return
    for path in written:
        people.print(f"written: {path}")
    start = f"knotd -c {written[0]}" if kind == "knot" else f"named -c {written[0]} -f"
    people.print(f"Start it with: {start}")


def _write_dns(
    folder: Path, kind: str, settings: Settings, key: tsig_keys.TsigKey, zones: list[str], force: bool
) -> list[Path]:
    """Write the files that are missing; returns the main file, then the others that were written."""
    server = parse_endpoint(settings.publication.server)
    zones_dir = (settings.signer.zones_dir or folder / "zones").absolute() if kind == "knot" else folder
    for sub in ("run", "db", "keys"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    zones_dir.mkdir(parents=True, exist_ok=True)
    main = folder / ("knot.conf" if kind == "knot" else "named.conf")
    files: dict[Path, tuple[str, int]] = {}
    if kind == "knot":
        files[main] = config_files.knot_conf(server, key, folder, zones_dir), 0o640
        for zone in zones:
            files[zones_dir / f"{zone}.conf"] = config_files.knot_zone_conf(zone, zones_dir), 0o644
    else:
        files[main] = config_files.named_conf(server, key, folder, zones), 0o640
    written = []
    for path, (text, mode) in files.items():
        if force or not path.exists():
            write_private(path, text.encode(), mode)
            written.append(path)
        elif path.read_text() != text:
            people.print(f"{path} exists, differs and was kept (--force overwrites it)")
    for zone in zones:
        contents = zones_dir / f"{zone}.zone"
        if not contents.exists():
            write_private(contents, config_files.zone_file(zone, settings.signer.address).encode(), 0o644)
            written.append(contents)
    return [main, *(path for path in written if path != main)]

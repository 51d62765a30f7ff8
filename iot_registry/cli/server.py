"""init, serve, status, dns-config."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import click
from sqlalchemy import select

from iot_registry import log
from iot_registry.cli.authorities import show
from iot_registry.cli.output import (
    json_option,
    moment,
    now,
    opened,
    people,
    print_json,
    settings_options,
    table,
)
from iot_registry.cli.target import Target, target_options
from iot_registry.config import Settings, parse_endpoint
from iot_registry.pki.keys import write_private
from iot_registry.publication import tsig
from iot_registry.service import authorities, provision
from iot_registry.signer import knot_text
from iot_registry.store.models import AuthorityKind, Domain

LISTEN = click.option("--listen", metavar="HOST:PORT", help="Address of the HTTPS server. Default: 127.0.0.1:8443")
DOMAIN = click.option("--domain", help="The first identity domain, made if the registry is new. Default: home.example")


@click.command()
@LISTEN
@DOMAIN
@settings_options
def serve(settings: Settings) -> None:
    """Run the registry until it gets SIGTERM or Ctrl-C.

    Without any configuration it makes a state directory, an SQLite database, its CAs and a TSIG key, and
    serves https://127.0.0.1:8443. Changes wait in the outbox until the name server takes them.

    \b
    Example:
      iot-registry serve --state-dir ./state --listen 127.0.0.1:8443 --domain home.example
    """
    # Here, not above: the other commands need not load the HTTP server.
    from iot_registry.web.server import serve as run

    log.configure(settings.registry.log)
    with opened(settings, create=True) as registry, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(settings, registry.database))


@click.command()
@DOMAIN
@settings_options
@click.option(
    "--root-key-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Move the root CA's key to this file (an offline medium) once the registry is set up.",
)
@json_option
def init(settings: Settings, root_key_out: Path | None, as_json: bool) -> None:
    """Make the state directory, the database, the CAs and the TSIG key. Doing it again changes nothing.

    \b
    Example:
      iot-registry init --state-dir ./state --domain home.example --root-key-out /media/usb/root.key
    """
    with opened(settings, create=True) as registry:
        made = provision.initialize(registry.database, registry.store, settings, now())
        tsig.load_or_create(settings.tsig_key_file)
        with registry.database.read() as session:
            root = authorities.singleton(session, AuthorityKind.ROOT)
        path = registry.store.path(root.aki)
    if root_key_out:
        _move(path, root_key_out)
    if as_json:
        print_json({"created": made, "root_ca": root.pem, "root_key": str(root_key_out or path)})
        return
    people.print("The registry is set up." if made else "The registry was set up already.")
    people.print(f"Root CA key: {root_key_out or path}")
    if not root_key_out:
        people.print("Keep it offline: only a new domain, a new issuing CA and a rollover need it (--root-key).")


def _move(source: Path, target: Path) -> None:
    """To another file system too: written and on disk there before it goes here."""
    from iot_registry.pki.keys import write_private

    if not source.exists():
        people.print(f"{source} is not there (any more): nothing moved.")
        return
    if target.exists():
        raise FileExistsError(17, "will not overwrite", str(target))
    write_private(target, source.read_bytes())
    source.unlink()


@click.command()
@target_options
@json_option
def status(target: Target, as_json: bool) -> None:
    """Devices by status, and how far the DNS lags behind the database.

    \b
    Example:
      iot-registry status --json
    """
    with target.opened() as registry:
        view = registry.status()
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    rows = [[state, str(count)] for state, count in view.devices.items()]
    table("Devices", ["status", "count"], rows)
    table(
        "Publication",
        ["waiting for the DNS", "oldest (s)", "last error", "feed sequence"],
        [
            [
                str(view.outbox_pending),
                f"{view.outbox_oldest_seconds:.1f}",
                view.outbox_last_error or "-",
                str(view.feed_sequence),
            ]
        ],
    )
    due = [authority for authority in view.authorities if authority.due]
    if due:
        show("CAs that end soon", due)


@click.command()
@target_options
@click.option("--after", type=click.IntRange(0), default=0, help="Start after the entry of this number.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
def audit(target: Target, after: int, limit: int, as_json: bool) -> None:
    """Who changed what, and when, oldest first.

    \b
    Example:
      iot-registry audit --after 100 --json
    """
    with target.opened() as registry:
        found = registry.audit_log(after, limit)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    table(
        "Audit log",
        ["number", "time", "who", "what", "of", "detail"],
        [
            [str(e.id), moment(e.time), e.actor, e.action, e.target, json.dumps(e.detail) if e.detail else ""]
            for e in found.entries
        ],
    )
    if found.next is not None:
        people.print(f"There are more: --after {found.next}")


@click.command()
@settings_options
def anchor(settings: Settings) -> None:
    """Print the certificate that clients must trust to reach this registry: what --ca-file wants elsewhere.

    \b
    Example:
      iot-registry anchor > anchor.pem
    """
    with opened(settings) as registry:
        click.echo(registry.server_anchor, nl=False)


@click.command("dns-config")
@settings_options
@click.option("--server", "kind", type=click.Choice(["knot", "bind"]), default="knot", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the name server's files: configuration, zones, keys, journal.",
)
@click.option("--force", is_flag=True, help="Overwrite configuration files that are there.")
@json_option
def dns_config(settings: Settings, kind: str, output: Path, force: bool, as_json: bool) -> None:
    """Write a configuration of Knot DNS (or BIND) that signs the registry's zones and takes its updates.

    Files that are there stay as they are; --force overwrites configuration, never zones. The configuration holds
    the TSIG secret: give the folder to the name server's user, and to nobody else.

    \b
    Example:
      iot-registry dns-config --output ./dns && knotd -c "$PWD/dns/knot.conf"
    """
    folder = output.absolute()
    with opened(settings) as registry, registry.database.read() as session:
        zones = sorted(set(session.scalars(select(Domain.zone))))
    key = tsig.load_or_create(settings.tsig_key_file)
    written = _write_dns(folder, kind, settings, key, zones, force)
    if as_json:
        print_json({"files": [str(path) for path in written], "zones": zones})
        return
    for path in written:
        people.print(f"ready: {path}")
    start = f"knotd -c {written[0]}" if kind == "knot" else f"named -c {written[0]} -f"
    people.print(f"Start it with: {start}")


def _write_dns(
    folder: Path, kind: str, settings: Settings, key: tsig.TsigKey, zones: list[str], force: bool
) -> list[Path]:
    """Write what is missing; returns the main file and what was written beside it."""
    server = parse_endpoint(settings.publication.server)
    zones_dir = (settings.signer.zones_dir or folder / "zones").absolute() if kind == "knot" else folder
    for sub in ("run", "db", "keys"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    zones_dir.mkdir(parents=True, exist_ok=True)
    main = folder / ("knot.conf" if kind == "knot" else "named.conf")
    files: dict[Path, tuple[str, int]] = {}
    if kind == "knot":
        files[main] = knot_text.knot_conf(server, key, folder, zones_dir), 0o640
        for zone in zones:
            files[zones_dir / f"{zone}.conf"] = knot_text.knot_zone_conf(zone, zones_dir), 0o644
    else:
        files[main] = knot_text.named_conf(server, key, folder, zones), 0o640
    written = []
    for path, (text, mode) in files.items():
        if force or not path.exists():
            write_private(path, text.encode(), mode)
            written.append(path)
        elif path.read_text() != text:
            people.print(f"{path} is there and differs: kept (--force overwrites it)")
    for zone in zones:
        contents = zones_dir / f"{zone}.zone"
        if not contents.exists():
            write_private(contents, knot_text.zone_file(zone, settings.signer.address).encode(), 0o644)
            written.append(contents)
    return [main, *(path for path in written if path != main)]

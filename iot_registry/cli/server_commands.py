"""The commands `init`, `serve` and `anchor`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from pathlib import Path

import click

from iot_registry.cli.opening import opened
from iot_registry.cli.options import settings_options
from iot_registry.local import tsig_keys
from iot_registry.local.config import Settings
from iot_registry.service import authorities, initialization
from iot_registry.store.models import AuthorityKind
from web_service.cli import json_option, people, print_json
from web_service.local import configure_log, utc_now, write_private

LISTEN = click.option("--listen", metavar="HOST:PORT", help="Address of the HTTPS server. Default: 127.0.0.1:8443")
DOMAIN = click.option("--domain", help="First identity domain, created if the registry is new. Default: home.example")


@click.command("serve")
@LISTEN
@DOMAIN
@settings_options("listen", "domain")
def serve_command(settings: Settings) -> None:
    """Run the registry until SIGTERM or Ctrl-C.

    Without a configuration, it creates the state directory, an SQLite database, its CAs and a TSIG key, and serves
    https://127.0.0.1:8443. Changes wait in the outbox until the name server accepts them.

    \b
    Example:
      iot-registry serve --state-dir ./state --listen 127.0.0.1:8443 --domain home.example
    """
    # Imported here, because the other commands do not need the HTTP server.
    from iot_registry.web.server import serve

    configure_log(settings.registry.log)
    with opened(settings, create=True) as registry, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(settings, registry.database))


@click.command("init")
@DOMAIN
@settings_options("domain")
@click.option(
    "--root-key-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Move the root CA's key to this file, on an offline medium, after the initialization.",
)
@json_option
def init_command(settings: Settings, root_key_out: Path | None, as_json: bool) -> None:
    """Create the state directory, the database, the CAs and the TSIG key. A repetition changes nothing.

    \b
    Example:
      iot-registry init --state-dir ./state --domain home.example --root-key-out /media/usb/root.key
    """
    with opened(settings, create=True) as registry:
        made = initialization.initialize(registry.database, registry.store, settings, utc_now())
        tsig_keys.load_or_create(settings.tsig_key_file)
        with registry.database.read() as session:
            root = authorities.singleton(session, AuthorityKind.ROOT)
        path = registry.store.path(root.aki)
    if root_key_out:
        _move(path, root_key_out)
    if as_json:
        print_json({"created": made, "root_ca": root.pem, "root_key": str(root_key_out or path)})
        return
    people.print("The registry is initialized." if made else "The registry was initialized already.")
    people.print(f"Root CA key: {root_key_out or path}")
    if not root_key_out:
        people.print(
            "Keep it offline (--root-key-out). Only a new domain, a new issuing CA and a rollover need it (--root-key)."
        )


def _move(source: Path, target: Path) -> None:
    """Move a file, also to another file system: it is on disk there before it is deleted here."""
    if not source.exists():
        people.print(f"{source} does not exist: nothing was moved.")
        return
    if target.exists():
        raise FileExistsError(errno.EEXIST, "The file exists and is not overwritten", str(target))
    write_private(target, source.read_bytes())
    source.unlink()


@click.command("anchor")
@settings_options()
def anchor_command(settings: Settings) -> None:
    """Print the certificate that clients of this registry must trust, for --ca-file on other machines.

    \b
    Example:
      iot-registry anchor > anchor.pem
    """
    with opened(settings) as registry:
        click.echo(registry.server_anchor, nl=False)

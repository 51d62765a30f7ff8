"""The commands `serve`, `init`, `anchor` and `restored`."""

from __future__ import annotations

import asyncio
import contextlib

import click

from operations.cli.opening import opened
from operations.cli.options import settings_options
from operations.local.config import Settings
from web_service.cli import json_option, people, print_json
from web_service.core import ConfigurationError
from web_service.local import configure_log, utc_now

LISTEN = click.option("--listen", metavar="HOST:PORT", help="Address of the HTTPS server. Default: 127.0.0.1:8444")


@click.command("serve")
@LISTEN
@settings_options("listen")
def serve_command(settings: Settings) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Without a configuration, it creates the state directory, an SQLite database and a
    certificate, and serves https://127.0.0.1:8444.

    \b
    Example:
      dane-operations serve --state-dir ./state --listen 127.0.0.1:8444
    """
    # Imported here, because the other commands do not need the HTTP server.
    from operations.web.server import serve

    configure_log(settings.operations.log)
    with opened(settings, create=True) as service, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(settings, service.database))


@click.command("init")
@settings_options()
@json_option
def init_command(settings: Settings, as_json: bool) -> None:
    """Create the state directory, the database and the certificate. A repetition changes nothing.

    \b
    Example:
      dane-operations init --state-dir ./state
    """
    from operations.web.server_tls import ServerTls, anchor_path

    with opened(settings, create=True):
        ServerTls(settings).refresh(utc_now())
    anchor = None if settings.tls.certificate else str(anchor_path(settings))
    if as_json:
        print_json({"state_dir": str(settings.state_dir), "anchor": anchor})
        return
    people.print(f"Ready: {settings.state_dir}", highlight=False)
    if anchor:
        people.print(f"Clients must trust: {anchor}", highlight=False)


@click.command("anchor")
@settings_options()
def anchor_command(settings: Settings) -> None:
    """Print the certificate that clients of this service must trust, for --ca-file on other machines.

    \b
    Example:
      dane-operations anchor > anchor.pem
    """
    from operations.web.server_tls import anchor_path

    if settings.tls.certificate:
        raise ConfigurationError("the certificate is the operator's own (tls.certificate): give clients its CA")
    path = anchor_path(settings)
    if not path.exists():
        raise ConfigurationError(f"{path}: not made yet; `dane-operations init` makes it")
    click.echo(path.read_text(), nl=False)


@click.command("restored")
@click.option("--reason", default="restored from a backup", show_default=True, help="For the audit log.")
@settings_options()
@json_option
def restored_command(settings: Settings, reason: str, as_json: bool) -> None:
    """Say that the database was restored from a backup, before the service starts again.

    The RADIUS servers then keep the stricter standing of each device, until `trust-sync standing adopt` on each of them
    says that the service's word counts.

    \b
    Example:
      dane-operations restored --reason "disk replaced, backup of Monday"
    """
    with opened(settings) as service:
        found = service.restored(reason)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    people.print(f"The database has a new origin: {found.origin}", highlight=False)
    people.print("When it is right, on each RADIUS server: trust-sync standing adopt", highlight=False)

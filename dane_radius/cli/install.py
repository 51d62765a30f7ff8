"""`dane-radius install`: into a FreeRADIUS configuration, and out of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from dane_radius.cli.common import REFUSED, fail, print_json
from dane_radius.install import Installer, InstallError, Layout, radiusd_program

_DEFAULTS = Layout(raddb=Path("/etc/freeradius/3.0"))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--raddb", type=Path, default=_DEFAULTS.raddb, show_default=True, help="FreeRADIUS's configuration folder."
)
@click.option("--config-dir", type=Path, default=_DEFAULTS.config_dir, show_default=True, help="For our own settings.")
@click.option("--anchors", type=Path, default=_DEFAULTS.anchors, show_default=True, help="The trust anchors.")
@click.option("--server-key", type=Path, default=_DEFAULTS.server_key, show_default=True, help="The EAP server's key.")
@click.option(
    "--server-certificate",
    type=Path,
    default=_DEFAULTS.server_certificate,
    show_default=True,
    help="The certificate that devices check.",
)
@click.option("--user", default=_DEFAULTS.user, show_default=True, help="The user that the server runs as.")
@click.option("--keep-default", is_flag=True, help="Leave the stock sites enabled; give ours other ports by hand.")
@click.option(
    "--resumption", is_flag=True, help="Let devices resume TLS sessions; each time the decision is made anew."
)
@click.option("--hint-socket", type=Path, help="Socket where trust-sync takes hints about unknown identities.")
@click.option(
    "--accounting",
    type=click.Choice(["none", "sqlite"]),
    default=_DEFAULTS.accounting,
    show_default=True,
    help="Keep live sessions in a radacct table, from which trust-sync disconnects revoked devices.",
)
@click.option("--check/--no-check", "check", default=True, help="Let the server check its configuration afterwards.")
@click.option("--uninstall", is_flag=True, help="Remove what was installed and put back what it displaced.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on stdout.")
def install(
    raddb: Path,
    config_dir: Path,
    anchors: Path,
    server_key: Path,
    server_certificate: Path,
    user: str,
    keep_default: bool,
    resumption: bool,
    hint_socket: Path | None,
    accounting: str,
    check: bool,
    uninstall: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Install the module into FreeRADIUS: copy its files, enable them, and check the result.

    A file that was changed by hand is kept, and the new version is put beside it. Running it again changes nothing.

    \b
    Example:
      dane-radius install --raddb /etc/freeradius/3.0 --dry-run
      dane-radius install --raddb /etc/freeradius/3.0
      dane-radius install --raddb /etc/freeradius/3.0 --uninstall
    """
    layout = Layout(
        raddb=raddb.absolute(),
        config_dir=config_dir.absolute(),
        anchors=anchors.absolute(),
        server_key=server_key.absolute(),
        server_certificate=server_certificate.absolute(),
        user=user,
        keep_default=keep_default,
        resumption=resumption,
        hint_socket=hint_socket.absolute() if hint_socket else None,
        accounting=accounting,
    )
    try:
        installer = Installer(layout, dry_run=dry_run)
        report = installer.uninstall() if uninstall else installer.install()
    except InstallError as error:
        fail(str(error), REFUSED)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", REFUSED)
    checked: str | None = None
    passed = True
    if check and not dry_run:
        passed, checked = _check_configuration(layout.raddb)
    if as_json:
        print_json(
            {"dry_run": dry_run, "actions": report.actions, "notes": report.notes, "check": checked, "passed": passed}
        )
    else:
        for action in report.actions:
            click.echo(f"{'would ' if dry_run else ''}{action}")
        if not report.changed:
            click.echo("nothing to do")
        for note in report.notes:
            click.echo(f"note: {note}")
        if checked is not None:
            click.echo(checked)
    sys.exit(0 if passed else REFUSED)


def _check_configuration(raddb: Path) -> tuple[bool, str]:
    """Let the server judge its configuration: whether it passed, and what to tell."""
    program = radiusd_program()
    if program is None:
        return True, "no FreeRADIUS program found: the configuration was not checked"
    done = subprocess.run(
        [program, "-C", "-l", "stdout", "-d", str(raddb)], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode == 0:
        return True, f"{Path(program).name} -C: the configuration is good"
    said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
    return False, f"{Path(program).name} -C refuses the configuration:\n{said}"

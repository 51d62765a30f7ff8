"""`dane-radius install`: into a FreeRADIUS configuration, and out of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dane_radius.cli.common import REFUSED, fail, print_json
from dane_radius.install.installer import Installer, InstallError, Layout, radiusd_program

_RADDB = Path("/etc/freeradius/3.0")
_DEFAULTS = Layout(raddb=_RADDB)


_Command = TypeVar("_Command", bound=Callable[..., Any])


def _option(name: str, text: str, kind: Any = Path, *, standard: object = None) -> Callable[[_Command], _Command]:
    """An option that stays as the last installation had it; `standard` is what it is without one."""
    return click.option(name, type=kind, default=None, show_default=str(standard) if standard else False, help=text)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--raddb", type=Path, default=_RADDB, show_default=True, help="FreeRADIUS's configuration folder.")
@_option("--config-dir", "For our own settings.", standard=_DEFAULTS.config_dir)
@_option("--anchors", "The trust anchors.", standard=_DEFAULTS.anchors)
@_option("--server-key", "The EAP server's key.", standard=_DEFAULTS.server_key)
@_option("--server-certificate", "The certificate that devices check.", standard=_DEFAULTS.server_certificate)
@_option("--user", "The user that the server runs as.", str, standard=_DEFAULTS.user)
@click.option(
    "--keep-default/--displace-default",
    default=None,
    help="Leave the stock sites enabled; give ours other ports by hand.",
)
@click.option(
    "--resumption/--no-resumption",
    default=None,
    help="Let devices resume TLS sessions; each time the decision is made anew.",
)
@_option("--hint-socket", "Socket where trust-sync takes hints about unknown identities; '' for none.", str)
@_option(
    "--accounting",
    "Keep live sessions in a radacct table, from which trust-sync disconnects revoked devices.",
    click.Choice(["none", "sqlite"]),
    standard=_DEFAULTS.accounting,
)
@_option(
    "--threads",
    "Worker threads that radiusd.conf must allow, since requests that wait for the DNS occupy them; 0: leave it alone.",
    click.IntRange(0, 4096),
    standard=_DEFAULTS.threads,
)
@click.option("--check/--no-check", "check", default=True, help="Let the server check its configuration afterwards.")
@click.option("--uninstall", is_flag=True, help="Remove what was installed and put back what it displaced.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on stdout.")
def install(
    raddb: Path,
    check: bool,
    uninstall: bool,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Install the module into FreeRADIUS: copy its files, enable them, and check the result.

    A file that was changed by hand is kept, and the new version is put beside it. Running it again changes nothing;
    after an upgrade, it brings the files up to date. What an option does not say stays as it was.

    \b
    Example:
      dane-radius install --dry-run
      dane-radius install --hint-socket /run/trust-sync/trust-sync.sock --accounting sqlite
      dane-radius install --uninstall
    """
    try:
        layout = Layout.from_options(raddb.absolute(), options)
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

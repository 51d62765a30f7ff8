"""`dane-radius install`: installs the module into a FreeRADIUS configuration, or uninstalls it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dane_radius.cli.common import REFUSED, fail, print_json
from dane_radius.install import Installer, InstallError, Layout, remembered_options
from dane_radius.install.installer import Report
from dane_radius.install.steps import Edit

_RADDB = Path("/etc/freeradius/3.0")
_DEFAULTS = Layout(raddb=_RADDB)

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _option(name: str, text: str, kind: Any = Path, *, standard: object = None) -> Callable[[_Command], _Command]:
    """An option whose default is its value in the last installation, or `standard` in the first one."""
    return click.option(name, type=kind, default=None, show_default=str(standard) if standard else False, help=text)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--raddb", type=Path, default=_RADDB, show_default=True, help="FreeRADIUS's configuration folder.")
@_option("--config-dir", "The folder for the module's own settings.", standard=_DEFAULTS.config_dir)
@_option("--anchors", "The folder of the trust anchors.", standard=_DEFAULTS.anchors)
@_option("--server-key", "The private key of the EAP server.", standard=_DEFAULTS.server_key)
@_option(
    "--server-certificate",
    "The certificate of the EAP server, which devices verify.",
    standard=_DEFAULTS.server_certificate,
)
@_option("--user", "The user that the server runs as.", str, standard=_DEFAULTS.user)
@click.option(
    "--keep-default/--displace-default",
    default=None,
    help="Leave the stock sites enabled. You must then change the ports of one of the sites.",
)
@click.option(
    "--resumption/--no-resumption",
    default=None,
    help="Allow devices to resume TLS sessions. Each resumption still needs a decision of its own.",
)
@_option("--hint-socket", "The socket where trust-sync takes hints about unknown identities; '' for none.", str)
@_option(
    "--standing",
    "The folder of the standing of devices, which trust-sync follows from dane-operations; '' for none.",
    str,
)
@_option(
    "--accounting",
    "Record live sessions in a radacct table, which trust-sync needs to disconnect revoked devices.",
    click.Choice(["none", "sqlite"]),
    standard=_DEFAULTS.accounting,
)
@_option(
    "--threads",
    "Worker threads that radiusd.conf must allow; requests that wait for the DNS occupy them. 0: no change.",
    click.IntRange(0, 4096),
    standard=_DEFAULTS.threads,
)
@click.option("--check/--no-check", "check", default=True, help="Check the configuration with radiusd -C afterwards.")
@click.option("--uninstall", is_flag=True, help="Remove the installation, and restore what it displaced.")
@click.option(
    "--force",
    is_flag=True,
    help="Replace or remove files that were changed by hand, too. Not the settings, unless --uninstall is given.",
)
@click.option("--dry-run", is_flag=True, help="Only report what would be done, step by step.")
@click.option("--diff", is_flag=True, help="Only show how files that were changed by hand differ from the new version.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def install(
    raddb: Path,
    check: bool,
    uninstall: bool,
    force: bool,
    dry_run: bool,
    diff: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Install the module into FreeRADIUS: copy its files, enable them, and check the configuration.

    All or nothing: if a step fails, or the server refuses the result, everything is restored. If the command is
    interrupted, its next run does that first. A file that was changed by hand is kept, and the new version is written
    beside it. Run the command again after an upgrade to update the files. Options that are not given keep their values
    from the last installation.

    \b
    Example:
      dane-radius install --dry-run
      dane-radius install --hint-socket /run/trust-sync/trust-sync.sock --accounting sqlite
      dane-radius install --uninstall
    """
    if diff and uninstall:
        fail("--diff compares with what an installation would write: give it without --uninstall")
    raddb = raddb.absolute()
    try:
        layout = Layout.from_options(raddb, options, remembered_options(raddb))
        installer = Installer(layout, dry_run=dry_run or diff, force=force and not diff)
        report = installer.uninstall(check=check) if uninstall else installer.install(check=check)
    except InstallError as error:
        fail(str(error), REFUSED)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", REFUSED)
    if diff:
        click.echo("".join(_difference(edit) for edit in report.edits), nl=False)
    elif as_json:
        _print_json(report, dry_run)
    else:
        _print(report, dry_run)
    sys.exit(0 if report.passed else REFUSED)


def _difference(edit: Edit) -> str:
    """A unified diff from the file as it is to the new version."""
    current, proposed = (
        text.decode("utf-8", "replace").splitlines(keepends=True) for text in (edit.current, edit.proposed)
    )
    lines = difflib.unified_diff(current, proposed, str(edit.path), f"{edit.path} (new version)")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _print_json(report: Report, dry_run: bool) -> None:
    print_json(
        {
            "dry_run": dry_run,
            "actions": report.actions,
            "steps": report.steps,
            "notes": report.notes,
            "changed_by_hand": [str(edit.path) for edit in report.edits],
            "check": report.check,
            "passed": report.passed,
            "rolled_back": report.rolled_back,
        }
    )


def _print(report: Report, dry_run: bool) -> None:
    for action in report.actions:
        click.echo(f"{'would ' if dry_run else ''}{action}")
    if not report.actions:
        click.echo("nothing to do")
    for note in report.notes:
        click.echo(f"note: {note}")
    if report.check is not None:
        click.echo(report.check)

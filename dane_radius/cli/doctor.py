"""`dane-radius doctor`: examines an installation, and says what to do about each problem."""

from __future__ import annotations

import sys
from collections import Counter
from io import TextIOWrapper
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dane_radius import __version__
from dane_radius.cli.common import REFUSED, print_json
from dane_radius.core.names import normalize
from dane_radius.core.reasons import Refused
from dane_radius.doctor import Finding, Names, Severity, all_findings, gather, read_installation

_RADDB = Path("/etc/freeradius/3.0")
_SYNC_CONFIG = "/etc/dane-radius/trust-sync.toml"
# In a file or a pipe, lines may be longer than on a terminal.
_FILE_COLUMNS = 200
_COLOURS = {Severity.OK: "green", Severity.INFO: "blue", Severity.WARNING: "yellow", Severity.ERROR: "red"}
_MARKS = {Severity.OK: "✓", Severity.INFO: "i", Severity.WARNING: "!", Severity.ERROR: "✗"}
# For a terminal without these characters, such as a serial console.
_PLAIN_MARKS = {**_MARKS, Severity.OK: "+", Severity.ERROR: "x"}


def _domain_name(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """A name to look up. Anything else is wrong usage."""
    if text is None:
        return None
    try:
        return normalize(text.encode("utf-8"))
    except (Refused, UnicodeEncodeError) as error:
        raise click.BadParameter(f"{text!r}: a domain name is expected ({error})") from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--raddb", type=Path, default=_RADDB, show_default=True, help="FreeRADIUS's configuration folder.")
@click.option("--config", "config_file", help="The configuration file. Default: the installed one.")
@click.option(
    "--trust-sync-config", "sync_file", help=f"The file of trust-sync. Default: {_SYNC_CONFIG}, if it exists."
)
@click.option("--good-name", callback=_domain_name, help="A name in a signed zone. Default: the root.")
@click.option(
    "--bad-name", callback=_domain_name, help="A name whose signatures are invalid. Default: dnssec-failed.org."
)
@click.option("--server-name", callback=_domain_name, help="The name that devices expect in the server's certificate.")
@click.option("--quiet", is_flag=True, help="Print problems only.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(
    raddb: Path,
    config_file: str | None,
    sync_file: str | None,
    good_name: str | None,
    bad_name: str | None,
    server_name: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Examine the installation: FreeRADIUS, files, resolver, anchors, certificate, and what runs.

    The command changes no setting and takes at most 40 seconds. Run it as root: another user cannot see everything, and
    the findings say what could not be checked.

    \b
    Example:
      dane-radius doctor
      dane-radius doctor --server-name radius.example.net --quiet
      dane-radius doctor --good-name a1.camera._device.example.net --bad-name broken.example.net

    Exit codes: 0 no error (warnings are possible), 1 at least one error, 2 wrong usage.
    """
    if not raddb.is_dir():
        raise click.BadParameter(f"{raddb} is not a folder", param_hint="--raddb")
    installation = read_installation(raddb.absolute(), config_file)
    names = Names(good_name, bad_name, server_name)
    facts = gather(installation, names, sync_file or _SYNC_CONFIG, is_sync_named=sync_file is not None)
    findings = all_findings(facts)
    failed = any(finding.severity is Severity.ERROR for finding in findings)
    if as_json:
        shown = [finding for finding in findings if finding.problem or not quiet]
        counts = Counter(finding.severity.value for finding in findings)
        print_json(
            {
                "version": __version__,
                "ok": not failed,
                "counts": {severity.value: counts[severity.value] for severity in Severity},
                "findings": [finding.to_json() for finding in shown],
            }
        )
    else:
        _print(findings, quiet=quiet)
    sys.exit(REFUSED if failed else 0)


def _print(findings: list[Finding], *, quiet: bool) -> None:
    """A table of all findings by area, and then the problems with their fixes."""
    if isinstance(sys.stdout, TextIOWrapper):
        # What is found may contain characters that the terminal does not have.
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _FILE_COLUMNS)
    signs = _MARKS if console.encoding.startswith("utf") else _PLAIN_MARKS
    marks = {severity: f"[{_COLOURS[severity]}]{sign}[/]" for severity, sign in signs.items()}
    if not quiet:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        area = ""
        for finding in findings:
            if finding.check.area != area:
                area = finding.check.area
                table.add_row("", f"[underline]{area}[/]", "")
            subject = finding.check.value.partition(".")[2]
            table.add_row(marks[finding.severity], "  " + subject.replace("_", " "), escape(finding.found))
        console.print(table)
    problems = [finding for finding in findings if finding.problem]
    # The last one on the terminal is seen first.
    for finding in sorted(problems, key=lambda finding: finding.severity is Severity.ERROR):
        console.print(f"\n{marks[finding.severity]} [bold]{finding.check.value}[/]  {escape(finding.found)}")
        console.print(f"    expected: {escape(finding.expected)}")
        console.print(f"    fix: {escape(finding.fix)}")
        console.print(f"    see {finding.check.link}")
    if not quiet or problems:
        counts = Counter(finding.severity for finding in findings)
        errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
        console.print(f"\nerrors: {errors}, warnings: {warnings}, findings: {len(findings)}")

"""`dane-radius doctor`: examines an installation, and says what to do about each problem."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dane_radius import __version__
from dane_radius.cli.common import REFUSED, print_json
from dane_radius.core.names import normalize
from dane_radius.core.reasons import Refused
from dane_radius.doctor import Names, all_findings, gather, read_installation
from health_report import has_failed, json_report, print_report

_RADDB = Path("/etc/freeradius/3.0")
_SYNC_CONFIG = "/etc/dane-radius/trust-sync.toml"


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
    if as_json:
        print_json(json_report(__version__, findings, quiet=quiet))
    else:
        print_report(findings, quiet=quiet)
    sys.exit(REFUSED if has_failed(findings) else 0)

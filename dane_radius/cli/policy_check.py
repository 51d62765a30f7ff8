"""`dane-radius policy check`: mistakes in a policy file, and what it says but hardly means."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import click

from dane_radius.cli.common import REFUSED, fail, print_json
from dane_radius.cli.policy_common import name_problem, policy_path, read_octets
from policy import PolicyError, load_policy
from policy.analysis import (
    CODES,
    DEFAULT_DICTIONARY,
    LOCAL_DICTIONARIES,
    Dictionary,
    DictionaryError,
    Document,
    Finding,
    Level,
    examine,
    read_dictionary,
)

_COLOURS = {Level.ERROR: "red", Level.WARNING: "yellow", Level.NOTE: "cyan"}


@click.command("check", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option(
    "--ignore", "ignored", multiple=True, type=click.Choice(sorted(CODES)), metavar="CODE", help="May be repeated."
)
@click.option(
    "--dictionary",
    metavar="FILE",
    help=f"FreeRADIUS's dictionary, or `none`. Default: {DEFAULT_DICTIONARY}, and the local one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check_policy(
    file: str | None, strict: bool, ignored: tuple[str, ...], dictionary: str | None, as_json: bool
) -> None:
    """Examine a policy file (default: the configured one).

    Errors: what the policy language does not allow, and what FreeRADIUS would not send. Warnings: what the policy says,
    but hardly means, such as a rule that is never reached. Notes: what is intended in some policies.

    \b
    Example:
      dane-radius policy check
      dane-radius policy check policy.yaml --strict --ignore zone-unused

    Exit code 0: no errors; 1: errors, or warnings with --strict; 2: the file cannot be read, or wrong usage.
    """
    path = policy_path(file)
    octets = read_octets(path)
    try:
        policy = load_policy(path)
    except PolicyError as error:
        findings = [
            Finding(
                "invalid", Level.ERROR, problem.line, problem.key, problem.message, "correct it: the file does not load"
            )
            for problem in error.details
        ]
    else:
        known, missing = _dictionary(dictionary)
        findings = examine(policy, Document(octets), now=time.time(), name_problem=name_problem, dictionary=known)
        findings += missing if any(zone.grant.attributes for zone in policy.zones.values()) else []
    findings = [finding for finding in findings if finding.code not in ignored]
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    failed = counts[Level.ERROR] > 0 or (strict and counts[Level.WARNING] > 0)
    if as_json:
        print_json(
            {
                "file": path,
                "ok": not failed,
                "findings": [finding._asdict() for finding in findings],
                "counts": {level.value: count for level, count in counts.items()},
            }
        )
    else:
        _print(path, findings)
        words = [f"{count} {level.value}{'' if count == 1 else 's'}" for level, count in counts.items() if count]
        click.echo(f"{path}: {', '.join(words) or 'nothing found'}")
    sys.exit(REFUSED if failed else 0)


def _dictionary(wanted: str | None) -> tuple[Dictionary | None, list[Finding]]:
    """FreeRADIUS's dictionary. Without the option, a missing one is a note: policies are written elsewhere, too."""
    if wanted == "none":
        return None, []
    # The local dictionary is readable for FreeRADIUS and root only.
    local = [path for path in LOCAL_DICTIONARIES if os.access(path, os.R_OK)]
    try:
        return read_dictionary(wanted or DEFAULT_DICTIONARY, *local), []
    except DictionaryError as error:
        if wanted is not None:
            fail(f"--dictionary: {error}")
        text = f"attributes were not compared with FreeRADIUS's dictionary: {error}"
        return None, [
            Finding("dictionary-missing", Level.NOTE, None, "zones", text, "install freeradius-common, or --dictionary")
        ]


def _print(path: str, findings: Sequence[Finding]) -> None:
    for finding in findings:
        where = f"{path}:{finding.line}" if finding.line is not None else path
        level = click.style(finding.level.value, fg=_COLOURS[finding.level], bold=True)
        key = f"{finding.key}: " if finding.key else ""
        click.echo(f"{where}: {level}: {key}{finding.message} [{finding.code}]")
        click.echo(f"    {finding.fix}")

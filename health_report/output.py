"""Findings on standard output: a table by area with the problems below it, or JSON."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from health_report.finding import CheckId, Finding, Severity, has_failed

C = TypeVar("C", bound=CheckId)

# In a file or a pipe, lines may be longer than on a terminal.
_FILE_COLUMNS = 200
_COLOURS = {Severity.OK: "green", Severity.INFO: "blue", Severity.WARNING: "yellow", Severity.ERROR: "red"}
_MARKS = {Severity.OK: "✓", Severity.INFO: "i", Severity.WARNING: "!", Severity.ERROR: "✗"}
# For a terminal without these characters, such as a serial console.
_PLAIN_MARKS = {**_MARKS, Severity.OK: "+", Severity.ERROR: "x"}


def json_report(version: str, findings: Sequence[Finding[C]], *, quiet: bool) -> dict[str, Any]:
    """The report as a JSON object. version: the product's. quiet: problems only; the counts are of all findings."""
    counts = Counter(finding.severity.value for finding in findings)
    return {
        "version": version,
        "ok": not has_failed(findings),
        "counts": {severity.value: counts[severity.value] for severity in Severity},
        "findings": [finding.to_json() for finding in findings if finding.problem or not quiet],
    }


def print_report(findings: Sequence[Finding[C]], *, quiet: bool) -> None:
    """Print a table of all findings by area, and then the problems with their fixes. quiet: the problems only."""
    if isinstance(sys.stdout, TextIOWrapper):
        # What is found may contain characters that the terminal does not have.
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _FILE_COLUMNS)
    signs = _MARKS if console.encoding.startswith("utf") else _PLAIN_MARKS
    marks = {severity: f"[{_COLOURS[severity]}]{sign}[/]" for severity, sign in signs.items()}
    if not quiet:
        console.print(_table(findings, marks))
    problems = [finding for finding in findings if finding.problem]
    # The last one on the terminal is seen first.
    for finding in sorted(problems, key=lambda finding: finding.severity is Severity.ERROR):
        console.print(f"\n{marks[finding.severity]} [bold]{finding.check.value}[/]  {_text(finding.found)}")
        console.print(f"    expected: {_text(finding.expected)}")
        console.print(f"    fix: {_text(finding.fix)}")
        console.print(f"    see {finding.check.link}")
    if not quiet or problems:
        counts = Counter(finding.severity for finding in findings)
        errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
        console.print(f"\nerrors: {errors}, warnings: {warnings}, findings: {len(findings)}")


def _text(text: str) -> str:
    """A text without markup, and without what controls a terminal: what was found may come from a stranger."""
    return escape("".join(character if character.isprintable() or character in "\n\t" else "?" for character in text))


def _table(findings: Sequence[Finding[C]], marks: dict[Severity, str]) -> Table:
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
        table.add_row(marks[finding.severity], "  " + subject.replace("_", " "), _text(finding.found))
    return table

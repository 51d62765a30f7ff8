"""`dane-radius policy test`: the example cases of a policy file, for people and for CI."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import click
from rich.table import Table

from dane_radius.cli.common import REFUSED, fail, print_json
from dane_radius.cli.policy_common import at_option, console, policy_path, read_policy, shown
from policy.analysis import CaseResult, run_cases


@click.command("test", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False, metavar="[FILE]")
@at_option
@click.option("--junit", metavar="FILE", help="Also write a report in the JUnit format.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def run_tests(file: str | None, at: float, junit: str | None, as_json: bool) -> None:
    """Run the example cases of a policy file (section `tests`; default file: the configured one).

    A case says what a device at a place gets, if the DNS vouches for it. Cases without `at` are run as of now.

    \b
    Example:
      dane-radius policy test
      dane-radius policy test policy.yaml --junit report.xml

    Exit code 0: all cases pass; 1: one fails, or the file has none; 2: wrong usage.
    """
    path = policy_path(file)
    _, policy, document = read_policy(path)
    results = run_cases(policy, document, now=at)
    failed = sum(not result.passed for result in results)
    if junit is not None:
        _write_junit(junit, path, results)
    if as_json:
        print_json({"file": path, "passed": len(results) - failed, "failed": failed, "cases": _as_json(results)})
    elif not results:
        click.echo(f"{path} has no `tests`: see docs/policy.md for how to write them")
    else:
        _print(results)
        click.echo(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(REFUSED if failed or not results else 0)


def _as_json(results: Sequence[CaseResult]) -> list[dict[str, object]]:
    return [
        {
            "name": result.case.name,
            "line": result.case.line,
            "device": result.case.device,
            "expected": result.expected,
            "found": result.found,
            "passed": result.passed,
            "problem": result.problem,
        }
        for result in results
    ]


def _print(results: Sequence[CaseResult]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "line", "case", "found"):
        table.add_column(column, overflow="fold", no_wrap=column in ("", "line"))
    for result in results:
        mark = "[green]pass[/]" if result.passed else "[bold red]FAIL[/]"
        found = result.found if result.problem is None else result.problem
        table.add_row(mark, str(result.case.line or ""), shown(result.case.name), shown(found))
    console().print(table)


def _write_junit(target: str, path: str, results: Sequence[CaseResult]) -> None:
    """The results in the format that CI systems read. One test suite, one test case each."""
    failed = sum(not result.passed for result in results)
    suite = ElementTree.Element(
        "testsuite", name=f"policy {path}", tests=str(len(results)), failures=str(failed), errors="0", skipped="0"
    )
    for result in results:
        case = ElementTree.SubElement(suite, "testcase", classname=path, name=_printable(result.case.name), time="0")
        if result.problem is not None:
            where = f"{path}:{result.case.line}" if result.case.line is not None else path
            failure = ElementTree.SubElement(case, "failure", message=_printable(result.problem))
            failure.text = _printable(f"{where}: {result.case.device}: {result.problem}")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    try:
        Path(target).write_bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
    except OSError as error:
        fail(f"--junit {target}: {error.strerror}")


def _printable(text: str) -> str:
    """Text without what XML 1.0 cannot have."""
    return "".join(character if character.isprintable() else "?" for character in text)

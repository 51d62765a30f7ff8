"""`dane-radius policy replay`: logged decisions under a new policy."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from dane_radius.cli.common import REFUSED, fail, print_json
from dane_radius.cli.policy_common import console, iso, read_policy, shown
from dane_radius.replay.changes import Change, Replay
from dane_radius.replay.log_files import LogReader, size_of

_TITLES = {
    Change.LOST: ("loses access", "lose access"),
    Change.GAINED: ("gains access", "gain access"),
    Change.CHANGED: ("gets other access", "get other access"),
    Change.UNKNOWN: ("cannot be known", "cannot be known"),
}


@click.command("replay", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--log", "logs", multiple=True, metavar="FILE", help="A decision log, also compressed. May be repeated.")
@click.option("--old", "old_file", metavar="FILE", help="The policy that was in force, to compare access in detail.")
@click.option("--limit", type=click.IntRange(0), default=30, show_default=True, help="Rows of each table.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if a device loses access.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@click.argument("files", nargs=-1, required=True, metavar="[FILE...] NEW")
def replay(
    logs: tuple[str, ...], old_file: str | None, limit: int, exit_code: bool, as_json: bool, files: tuple[str, ...]
) -> None:
    """Decide again about the devices of decision logs, by the policy NEW: who would lose, gain or change access?

    The certificates and the DNS are taken as the log says they were. What the log does not say is not guessed: a device
    that the old policy refused without asking the DNS "cannot be known". Files that are named before NEW are logs, too.

    \b
    Example:
      dane-radius policy replay --log /var/log/freeradius/dane-radius.log new.yaml
      dane-radius policy replay --log /var/log/freeradius/dane-radius.log* --old policy.yaml new.yaml --json

    Exit code 0: done; 1: a policy is invalid, or a device loses access and --exit-code is given; 2: wrong usage, or a
    log cannot be read.
    """
    *more, new_file = files
    paths = [*logs, *more]
    if not paths:
        fail("--log FILE is expected")
    for path in paths:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            fail(f"{path}: {error.strerror}")
    old = read_policy(old_file).policy if old_file is not None else None
    run = Replay(read_policy(new_file).policy, old)
    began = time.monotonic()
    reader = _read(paths, run)
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            {
                **run.to_json(),
                "bad_lines": reader.bad_lines,
                "other_lines": reader.other_lines,
                "problems": reader.problems,
                "seconds": round(seconds, 3),
            }
        )
    else:
        _print(run, reader, seconds, limit, old is not None)
    sys.exit(REFUSED if exit_code and run.counts[Change.LOST] else 0)


def _read(paths: Sequence[str], run: Replay) -> LogReader:
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("octets of the logs", total=sum(size_of(path) for path in paths))
        reader = LogReader(lambda octets: progress.update(task, completed=octets))
        for decision in reader.decisions(list(paths)):
            run.add(decision)
    return reader


def _print(run: Replay, reader: LogReader, seconds: float, limit: int, knows_old: bool) -> None:
    out = console()
    for change, (one, several) in _TITLES.items():
        groups = run.listed(change)
        if not groups:
            continue
        devices = len({key.device for key, _ in groups})
        out.print(f"[bold]{f'1 device {one}' if devices == 1 else f'{devices} devices {several}'}[/]")
        table = Table(box=None, pad_edge=False)
        for column in ("device", "decisions", "last", "at", "old", "new"):
            table.add_column(column, overflow="fold", justify="right" if column == "decisions" else "left")
        for key, group in groups[:limit]:
            cells = (key.device, str(group.count), iso(group.last), "; ".join(group.places), key.old, key.new)
            table.add_row(*(shown(cell) for cell in cells))
        out.print(table)
        if len(groups) > limit:
            out.print(f"and {len(groups) - limit} more (--json has all)")
        out.print()
    _summary(out, run, reader, seconds, knows_old)


def _summary(out: Console, run: Replay, reader: LogReader, seconds: float, knows_old: bool) -> None:
    counts = run.counts
    words = [f"{counts[change]} {change.value}" for change in _TITLES if counts[change]]
    words.append(f"{counts[Change.SAME]} unchanged")
    if counts[Change.REASON]:
        words.append(f"{counts[Change.REASON]} refused for another reason")
    out.print(f"{run.decisions} decisions in {seconds:.1f} s: {', '.join(words)}")
    if counts[Change.INCOMPARABLE]:
        hint = "" if knows_old else "; name the policy that was in force with --old"
        out.print(f"{counts[Change.INCOMPARABLE]} keep access, but the log does not say which they had{hint}")
    if counts[Change.UNKNOWN] and not knows_old:
        out.print("--old FILE also says what the logged rules required, so that less is unknown")
    if not knows_old:
        out.print("zones are compared by their names: --old FILE compares what they give")
    if run.contradictions:
        out.print(f"{run.contradictions} decisions do not agree with --old: another policy was in force for them")
    if run.ungrouped:
        out.print(f"{run.ungrouped} changes are counted, but not listed: too many different ones")
    if reader.bad_lines:
        out.print(f"{reader.bad_lines} lines could not be read")
    for problem in reader.problems:
        out.print(f"  {shown(problem)}")

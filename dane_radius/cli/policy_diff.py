"""`dane-radius policy diff` and `upgrade`: what changes between two policies, and a file of version 1 in version 2."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import click
from rich.table import Table

from dane_radius.cli.common import REFUSED, fail, print_json
from dane_radius.cli.policy_common import PolicyFile, at_option, console, policy_path, read_octets, read_policy, shown
from policy import PolicyError, parse_policy
from policy.analysis import (
    Difference,
    Document,
    UpgradeError,
    compare,
    same_access,
    sample_names,
    sample_places,
    upgrade,
)

_MAX_SHOWN = 40
# The names of a larger list are not compared.
_MAX_LIST_OCTETS = 32 * 1024 * 1024


@click.command("diff", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@at_option
@click.option("--exit-code", is_flag=True, help="Exit with 1 if a device gets something else.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(old: str, new: str, at: float, exit_code: bool, as_json: bool) -> None:
    """Say what changes from one policy to another: what the files say, and what devices get.

    The example cases of both files are compared, and names and places that the rules tell apart. `replay` compares by
    devices that were there.

    \b
    Example:
      dane-radius policy diff /etc/dane-radius/policy.yaml new.yaml

    Exit code 0: done; 1: a policy is invalid, or access changes and --exit-code is given; 2: wrong usage.
    """
    before, after = read_policy(old), read_policy(new)
    found = compare(before.policy, before.document, after.policy, after.document, now=at, lists=_lists(before, after))
    if as_json:
        print_json(
            {
                "old": old,
                "new": new,
                "text": list(found.text),
                "access": [change._asdict() for change in found.access],
                "compared": found.compared,
            }
        )
    else:
        _print(found)
    sys.exit(REFUSED if exit_code and found.access else 0)


def _print(found: Difference) -> None:
    out = console()
    for line in found.text:
        out.print(shown(line))
    if not found.text:
        out.print("The two policies say the same.")
    out.print()
    if not found.access:
        out.print(f"No access changes, as far as {found.compared} combinations of name and place show.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("device", "at", "old", "new"):
        table.add_column(column, overflow="fold")
    for change in found.access[:_MAX_SHOWN]:
        place = f"{change.place} (case: {change.case})" if change.case is not None else change.place
        table.add_row(*(shown(text) for text in (change.device, place, change.old, change.new)))
    out.print(table)
    if len(found.access) > _MAX_SHOWN:
        out.print(f"and {len(found.access) - _MAX_SHOWN} more (--json has all)")


def _lists(before: PolicyFile, after: PolicyFile) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """The names of the device lists that both files have, where they differ."""
    found = {}
    old, new = before.document.get("device_lists") or {}, after.document.get("device_lists") or {}
    for name in old:
        if name in new:
            pair = _names(before.path, old[name]), _names(after.path, new[name])
            if pair[0] is not None and pair[1] is not None and pair[0] != pair[1]:
                found[name] = pair[0], pair[1]
    return found


def _names(policy: str, path: str) -> frozenset[str] | None:
    file = Path(policy).parent / path
    if file.stat().st_size > _MAX_LIST_OCTETS:
        return None
    lines = (line.partition("#")[0].strip().lower() for line in file.read_text().splitlines())
    return frozenset(line.removesuffix(".") for line in lines if line)


@click.command("upgrade", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", required=False, metavar="[FILE]")
@click.option("--in-place", is_flag=True, help="Replace the file. The old one is kept with the suffix .version-1.")
def upgrade_file(file: str | None, in_place: bool) -> None:
    """Rewrite a policy file of version 1 in version 2 (default: the configured one). Comments and order are kept.

    Before anything is written, both policies are compared with names and places that their rules tell apart. A file of
    version 2 is printed, or left, as it is.

    \b
    Example:
      dane-radius policy upgrade policy.yaml >policy-2.yaml
      dane-radius policy upgrade /etc/dane-radius/policy.yaml --in-place

    Exit code 0: done; 1: the file is invalid, or has what a person must change first; 2: wrong usage.
    """
    path = policy_path(file)
    octets = read_octets(path)
    try:
        text = octets.decode("utf-8")
        upgraded = upgrade(text, path, Path(path).parent)
    except UnicodeDecodeError as error:
        fail(f"{path}: octet {error.start} is not UTF-8", REFUSED)
    except PolicyError as error:
        fail(f"invalid policy\n{error}", REFUSED)
    except UpgradeError as error:
        fail(f"{path}: {error}", REFUSED)
    if upgraded == text:
        click.echo(f"{path}: version 2 already, nothing to do", err=True)
    else:
        compared = _prove(octets, upgraded.encode())
        click.echo(f"{path}: the same access in {compared} combinations of name and place", err=True)
    if not in_place:
        click.echo(upgraded, nl=False)
    elif upgraded != text:
        # A link stays a link.
        _replace(Path(path).resolve(), upgraded)


def _prove(old_octets: bytes, new_octets: bytes) -> int:
    """Compare both policies; exit if they differ. The number of comparisons."""
    old, new = parse_policy(old_octets), parse_policy(new_octets)
    names = sample_names(old, new)
    places = sample_places((old, Document(old_octets)), (new, Document(new_octets)))
    now = time.time()
    for name in names:
        for place in places:
            if not same_access(old.match(name, place.request, now=now), new.match(name, place.request, now=now)):
                fail(f"the upgraded policy would treat {name} at {place.name} otherwise; nothing is written", REFUSED)
    return len(names) * len(places)


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically, with its mode and owner, and keep the old one."""
    status = path.stat()
    backup = path.with_name(path.name + ".version-1")
    fresh: str | None = None
    try:
        descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(fresh, status.st_mode & 0o7777)
        os.chown(fresh, status.st_uid, status.st_gid)
        backup.unlink(missing_ok=True)
        os.link(path, backup)
        os.replace(fresh, path)
    except OSError as error:
        if fresh is not None:
            Path(fresh).unlink(missing_ok=True)
        fail(f"{path}: {error.strerror}")
    click.echo(f"{path}: replaced; the old file is {backup}", err=True)

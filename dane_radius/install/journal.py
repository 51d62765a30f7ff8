"""The journal of a run: each step, with what stands at its path before and after. Text in, text out.

It is written before the first step. If a run is interrupted, the next one reads it and undoes the steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dane_radius.install.errors import InstallError
from dane_radius.install.nodes import File, Node, Trace, name_of
from dane_radius.install.places import SETTINGS_NAMES
from dane_radius.install.steps import Step, to_json

# Both in raddb. DONE: the run is complete, and only copies of the previous files remain to be removed.
JOURNAL = ".dane-radius.journal"
DONE = ".dane-radius.journal-done"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    path: str
    what: str


class ChangeEntry(_Entry):
    """The record of a `steps.Change`."""

    step: Literal["change"]
    before: Trace
    after: Trace


class MoveEntry(_Entry):
    """The record of a `steps.Move`."""

    step: Literal["move"]
    source: str
    node: Trace


Entry = Annotated[ChangeEntry | MoveEntry, Field(discriminator="step")]


class Journal(BaseModel):
    """The steps of one run, in order."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1] = 1
    entries: list[Entry]


def record(steps: Iterable[Step]) -> Journal:
    """The journal of these steps."""
    return Journal.model_validate_json(json.dumps({"version": 1, "entries": [to_json(step) for step in steps]}))


def encode_journal(journal: Journal) -> bytes:
    """The content of the journal file."""
    return journal.model_dump_json().encode()


def read_journal(node: Node, path: Path, inside: frozenset[Path]) -> Journal:
    """The journal that stands at `path`. Raises InstallError if it is damaged, not root's, or names other paths.

    inside: the paths in the journal's folder that an installer changes. Elsewhere, it makes folders, and changes only
    the settings files. Raises InstallError for any other path.
    """
    if not isinstance(node, File) or node.uid != 0 or node.mode & 0o077:
        raise InstallError(f"{path}: {name_of(node)} that root has not written for itself alone; remove it")
    try:
        journal = Journal.model_validate_json(node.octets)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InstallError(f"{path}: not a journal of this version: {first['msg']}") from error
    for entry in journal.entries:
        if not _is_own(entry, path.parent, inside):
            raise InstallError(f"{path}: names {entry.path}, which no installer changes: the journal is forged")
    return journal


def _is_own(entry: ChangeEntry | MoveEntry, raddb: Path, inside: frozenset[Path]) -> bool:
    named = Path(entry.path)
    if isinstance(entry, MoveEntry):
        return named in inside and Path(entry.source) in inside and named.parent == Path(entry.source).parent
    if named.is_relative_to(raddb):
        return named in inside
    if not named.is_absolute() or ".." in named.parts:
        return False
    folders = {entry.before.kind, entry.after.kind} <= {"absent", "folder"}
    return folders or named.name in SETTINGS_NAMES


def staged(path: Path, number: int) -> Path:
    """Where step `number` prepares what it puts at `path`. FreeRADIUS reads no file whose name starts with a dot."""
    return path.with_name(f".{path.name}.dane-{number}-new")


def saved(path: Path, number: int) -> Path:
    """The second name of what stood at `path` before step `number`."""
    return path.with_name(f".{path.name}.dane-{number}-old")

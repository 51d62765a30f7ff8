"""Carries out a plan completely or not at all.

1. The journal is written.
2. Folders are made. New files and links are prepared beside their places, and what they replace gets a second name (a
   hard link). This needs all the disk space that there is to need; nothing that the server reads has changed.
3. Each step is one rename or removal.
4. The journal is renamed, which completes the run. Then the second names and empty folders are removed.

Until then, everything can be undone with renames and removals alone, even on a full disk: by the same process, or by
the next one from the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dane_radius.install.errors import InstallError
from dane_radius.install.journal import (
    DONE,
    JOURNAL,
    ChangeEntry,
    Journal,
    MoveEntry,
    encode_journal,
    read_journal,
    record,
    saved,
    staged,
)
from dane_radius.install.nodes import Absent, File, Folder, Link, Trace
from dane_radius.install.steps import Change, Step
from dane_radius.install.tree import Tree

# Called before each step with its number, and after the last one.
Hook = Callable[[int], None]


class Transaction:
    """The steps of one plan on one tree, which must be locked."""

    def __init__(self, tree: Tree, steps: Sequence[Step]) -> None:
        self._tree = tree
        self._steps = steps
        self._journal = record(steps)

    def apply(self, hook: Hook = lambda _: None) -> None:
        """Carry out all steps. Raises OSError, InstallError; then `roll_back` undoes the steps that were done."""
        self._write_journal()
        for number, step in enumerate(self._steps):
            self._prepare(number, step)
        for number, step in enumerate(self._steps):
            hook(number)
            self._carry_out(number, step)
        hook(len(self._steps))

    def roll_back(self) -> list[str]:
        """Undo what was done. Returns what could not be undone. Raises OSError; then the next run undoes it."""
        return roll_back(self._tree, self._journal)

    def commit(self) -> None:
        """Make the changes final. Raises OSError; then `roll_back` is still possible."""
        self._tree.rename(self._tree.root / JOURNAL, self._tree.root / DONE)

    def clean_up(self) -> None:
        """After `commit`: remove what only an undo needs. Raises OSError; then the next run does it."""
        _clean_up(self._tree, self._journal, DONE)

    def _write_journal(self) -> None:
        path = self._tree.root / JOURNAL
        temporary = path.with_name(path.name + "-new")
        _remove(self._tree, temporary)
        self._tree.write(temporary, File(encode_journal(self._journal), 0o600, 0, 0))
        self._tree.rename(temporary, path)

    def _prepare(self, number: int, step: Step) -> None:
        if not isinstance(step, Change):
            return
        # If an earlier step changes the same path, this step has nothing to save before that.
        if isinstance(step.before, File | Link) and self._tree.observe(step.path) == step.before:
            self._tree.hard_link(step.path, saved(step.path, number).name)
        path = staged(step.path, number)
        match step.after:
            case File():
                like = step.path if isinstance(step.before, File) else None
                self._tree.write(path, step.after, like)
            case Link():
                self._tree.symlink(path, step.after)
            case Folder():
                self._tree.mkdir(path, step.after)
                self._expect(step)
                self._tree.rename(path, step.path)

    def _carry_out(self, number: int, step: Step) -> None:
        if not isinstance(step, Change):
            if self._tree.observe(step.path) != Absent() or self._tree.observe(step.source) != step.node:
                raise InstallError(f"{step.path}: it, or {step.source}, was changed by another program meanwhile")
            self._tree.rename(step.source, step.path)
            return
        match step.after:
            case File() | Link():
                self._expect(step)
                self._save(number, step)
                self._tree.rename(staged(step.path, number), step.path)
            case Absent() if not isinstance(step.before, Folder):
                self._expect(step)
                self._save(number, step)
                self._tree.unlink(step.path)

    def _save(self, number: int, step: Change) -> None:
        name = saved(step.path, number)
        if isinstance(step.before, File | Link) and isinstance(self._tree.observe(name), Absent):
            self._tree.hard_link(step.path, name.name)

    def _expect(self, step: Change) -> None:
        if self._tree.observe(step.path).trace() != step.before.trace():
            raise InstallError(f"{step.path} was changed by another program meanwhile")


def pending(tree: Tree, inside: frozenset[Path]) -> list[ChangeEntry | MoveEntry]:
    """The steps of an interrupted run, which `recover` undoes. Raises InstallError if the journal cannot be trusted."""
    node = tree.observe(tree.root / JOURNAL)
    return [] if isinstance(node, Absent) else list(read_journal(node, tree.root / JOURNAL, inside).entries)


def recover(tree: Tree, inside: frozenset[Path]) -> list[str]:
    """Undo an interrupted run, or tidy up after one that was complete. Returns what happened, for the operator.

    inside: the paths below raddb that an installer changes.
    Raises InstallError if the journal cannot be trusted, OSError.
    """
    done = tree.observe(tree.root / DONE)
    if not isinstance(done, Absent):
        _clean_up(tree, read_journal(done, tree.root / DONE, inside), DONE)
    journal = tree.observe(tree.root / JOURNAL)
    if isinstance(journal, Absent):
        _remove(tree, tree.root / f"{JOURNAL}-new")
        return []
    problems = roll_back(tree, read_journal(journal, tree.root / JOURNAL, inside))
    return ["an interrupted run was undone first", *problems]


def roll_back(tree: Tree, journal: Journal) -> list[str]:
    """Undo the steps in a journal that were done, and remove the journal. Returns what could not be undone."""
    first: dict[Path, Trace] = {}
    for number, entry in reversed(list(enumerate(journal.entries))):
        path = Path(entry.path)
        if not isinstance(entry, ChangeEntry):
            source = Path(entry.source)
            if tree.observe(path).trace() == entry.node and isinstance(tree.observe(source), Absent):
                tree.rename(path, source)
            first |= {path: Absent().trace(), source: entry.node}
            continue
        first[path] = entry.before
        _remove(tree, staged(path, number))
        if entry.before != entry.after == tree.observe(path).trace():
            _undo(tree, path, number, entry)
    problems = [
        f"{path} {'is not empty' if before.kind == 'absent' else 'was changed meanwhile'}; it is left as it is"
        for path, before in first.items()
        if tree.observe(path).trace() != before
    ]
    _clean_up(tree, journal, JOURNAL)
    return problems


def _undo(tree: Tree, path: Path, number: int, entry: ChangeEntry) -> None:
    if entry.before.kind in ("file", "link"):
        # Nothing was saved: the step was not reached, and an earlier one has left the same state.
        if tree.observe(saved(path, number)) != Absent():
            tree.rename(saved(path, number), path)
    elif entry.after.kind != "folder":
        tree.unlink(path)
    else:
        _remove_if_empty(tree, path)


def _clean_up(tree: Tree, journal: Journal, name: str) -> None:
    for number, entry in enumerate(journal.entries):
        if isinstance(entry, ChangeEntry):
            _remove(tree, staged(Path(entry.path), number))
            _remove(tree, saved(Path(entry.path), number))
    if name == DONE:
        for entry in journal.entries:
            if isinstance(entry, ChangeEntry) and entry.before.kind == "folder" and entry.after.kind == "absent":
                _remove_if_empty(tree, Path(entry.path))
    _remove(tree, tree.root / f"{JOURNAL}-new")
    _remove(tree, tree.root / name)


def _remove(tree: Tree, path: Path) -> None:
    """Remove a file or a link of ours, or an empty folder."""
    match tree.observe(path):
        case Absent():
            pass
        case Folder():
            tree.rmdir(path)
        case _:
            tree.unlink(path)


def _remove_if_empty(tree: Tree, path: Path) -> None:
    node = tree.observe(path)
    if isinstance(node, Folder) and not node.entries:
        tree.rmdir(path)

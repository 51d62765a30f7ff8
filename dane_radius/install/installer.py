"""Installs into a FreeRADIUS configuration, or removes the installation: survey, plan, transaction, check."""

from __future__ import annotations

import contextlib
import pwd
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dane_radius.install import files, places
from dane_radius.install.errors import InstallError
from dane_radius.install.install_plan import Wanted, plan_installation
from dane_radius.install.layout import Layout
from dane_radius.install.radiusd import check_configuration, inaccessible_folder
from dane_radius.install.steps import Edit, Plan, to_json
from dane_radius.install.survey import open_raddb, survey
from dane_radius.install.transaction import Hook, Transaction, pending, recover
from dane_radius.install.tree import Tree
from dane_radius.install.uninstall_plan import plan_removal

__all__ = ["Installer", "Layout", "Report"]


@dataclass
class Report:
    """The actions that were done, or would be done, one line each; and notes for the operator.

    steps: the actions in detail. edits: files that the operator has changed. check: what the server said about the
    result; None if it was not asked. rolled_back: the server refused the result, and everything is as before.
    """

    actions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    check: str | None = None
    passed: bool = True
    rolled_back: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.actions) and not self.rolled_back


class Installer:
    """Installs into one raddb, or removes the installation. With `dry_run`, it only reports.

    force: replace or remove files too that the operator has changed. hook: see `transaction.Hook`; for tests.
    """

    def __init__(
        self, layout: Layout, *, dry_run: bool = False, force: bool = False, hook: Hook = lambda _: None
    ) -> None:
        """Raises InstallError if `layout.raddb` is not a FreeRADIUS 3 configuration, or the user does not exist."""
        self._layout = layout
        self._dry_run = dry_run
        self._force = force
        self._hook = hook
        open_raddb(layout.raddb).close()
        try:
            self._user = pwd.getpwnam(layout.user)
        except KeyError as error:
            raise InstallError(f"user {layout.user!r} does not exist; is the freeradius package installed?") from error
        if layout.accounting not in ("none", "sqlite"):
            raise InstallError(f"accounting {layout.accounting!r}: none or sqlite is expected")

    def install(self, *, check: bool = False) -> Report:
        """Write the files and enable them. Raises InstallError, OSError; everything is then as before.

        check: let the server check the result, and restore everything if it refuses it.
        """
        self._check_readable()
        with self._locked() as (tree, notes):
            plan = plan_installation(self._wanted(), survey(tree, self._layout))
            return self._carry_out(tree, plan, notes, check)

    def uninstall(self, *, check: bool = False) -> Report:
        """Remove the installed files that are unchanged, and restore what the installation displaced."""
        with self._locked() as (tree, notes):
            plan = plan_removal(survey(tree, self._layout), force=self._force)
            return self._carry_out(tree, plan, notes, check)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[tuple[Tree, list[str]]]:
        """The tree, and notes about an interrupted run, which is undone first."""
        tree = open_raddb(self._layout.raddb)
        try:
            tree.lock()
            inside = places.paths_inside(tree.root)
            notes = [f"{tree.root} is a symbolic link to {tree.real}"] if tree.is_link else []
            if not self._dry_run:
                notes += recover(tree, inside)
            elif pending(tree, inside):
                notes.append("an interrupted run will be undone first; what follows may change then")
            yield tree, notes
        finally:
            tree.close()

    def _wanted(self) -> Wanted:
        values = self._layout.values()
        names = {self._layout.raddb / name: name for name in (places.POLICY_FILE, *places.RADDB_FILES)}
        names |= {self._layout.config_dir / name: f"dane-radius/{name}" for name in places.SETTINGS}
        texts = {path: files.render(files.template(name), values).encode() for path, name in names.items()}
        return Wanted(self._layout, texts, self._user.pw_uid, self._user.pw_gid, self._force)

    def _carry_out(self, tree: Tree, plan: Plan, notes: list[str], check: bool) -> Report:
        if plan.refusals:
            raise InstallError("\n".join(plan.refusals))
        report = Report(
            [step.what for step in plan.steps], notes + plan.notes, [to_json(s) for s in plan.steps], plan.edits
        )
        if self._dry_run:
            return report
        transaction = Transaction(tree, plan.steps)
        try:
            if plan.steps:
                transaction.apply(self._hook)
            if check:
                report.passed, report.check = check_configuration(tree.root)
            if plan.steps and report.passed:
                transaction.commit()
        except BaseException as error:
            self._restore(transaction, error)
            raise
        if plan.steps and report.passed:
            try:
                transaction.clean_up()
            except OSError as error:
                report.notes.append(
                    f"done, but {_text(error)}; the next run removes what is left of the previous files"
                )
        elif plan.steps:
            report.notes += transaction.roll_back()
            report.rolled_back = True
            self._explain(report)
        return report

    def _restore(self, transaction: Transaction, error: BaseException) -> None:
        try:
            problems = transaction.roll_back()
        except (OSError, InstallError) as second:
            raise InstallError(f"{_text(error)}; and this could not be undone: {_text(second)}. Run the command again: "
                               "it undoes the rest first") from error  # fmt: skip
        if problems:
            raise InstallError("\n".join([_text(error), *problems])) from error

    def _explain(self, report: Report) -> None:
        """Say that everything is as before, and whether the server refused that, too."""
        passed, _ = check_configuration(self._layout.raddb)
        report.notes.append("the server refused the result; everything is as it was before")
        if not passed:
            report.notes.append("the server refuses the configuration from before, too: correct that first")

    def _check_readable(self) -> None:
        """Raises InstallError unless the server's user may enter each folder of the Python path."""
        for entry in self._layout.values()["python_path"].split(":"):
            folder = inaccessible_folder(Path(entry), self._user)
            if folder is not None:
                raise InstallError(
                    f"{entry}: user {self._layout.user} may not enter {folder}; install the package where it"
                    " may, for example with:"
                    " /usr/bin/python3 -m venv /opt/dane-radius && /opt/dane-radius/bin/pip install ."
                )


def _text(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__

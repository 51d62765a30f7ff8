"""The policy of a running server. It follows changes of its files; an invalid file never replaces a valid policy."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from policy.loading.device_lists import digest_with_lists, load_list, stamp_of
from policy.loading.loader import load_policy
from policy.loading.problems import PolicyError, Stamp
from policy.matching.dismantle import dismantle
from policy.matching.policy import Policy
from policy.pace import LARGE_OCTETS, Pace, without_collector


class PolicyStore:
    """Holds the last valid policy of a file, and of the device lists that it names.

    Reading `current` never blocks an authentication. The owner calls `refresh` periodically, from a thread of its own.
    """

    def __init__(self, path: str | Path, on_change: Callable[[Policy | PolicyError], None] | None = None) -> None:
        """Load the file. Raises PolicyError: a server must not start without a valid policy."""
        self._path = Path(path)
        self._on_change = on_change
        # Of the policy file as it was read last, and of the device lists, which an invalid file may name too.
        self._stamp = _read_stamp(self._path)
        with _collector_for(self._stamp):
            self.current: Policy = load_policy(self._path)
        self._list_stamps: Mapping[str, Stamp | None] = self.current.list_stamps
        self._policy_error: PolicyError | None = None
        self._list_error: PolicyError | None = None
        # Policies that were replaced, until nobody uses them.
        self._retired: list[Policy] = []

    @property
    def last_error(self) -> PolicyError | None:
        """Why the files as they are now cannot be used; None if they are in force."""
        return self._policy_error or self._list_error

    def refresh(self) -> bool:
        """Read the files again that changed. Reports invalid ones and keeps the current policy.

        Returns whether the policy was replaced.
        """
        self._dismantle_retired()
        stamp = _read_stamp(self._path)
        error = self._policy_error
        if stamp != self._stamp or (error is not None and _read_stamps(error.list_files) != error.list_stamps):
            return self._reload(stamp)
        if _read_stamps(self.current.list_files) != self._list_stamps:
            return self._reload_lists()
        return False

    def _reload(self, stamp: Stamp | None) -> bool:
        had_error = self.last_error is not None
        try:
            with _collector_for(stamp):
                policy = load_policy(self._path, rest=Pace())
        except PolicyError as error:
            is_new = str(error) != str(self._policy_error)
            self._stamp, self._policy_error = stamp, error
            if is_new:
                self._report(error)
            return False
        if _read_stamp(self._path) != stamp:
            # Written while it was read. The next call reads it as a whole.
            self._retired.append(policy)
            return False
        self._stamp, self._list_stamps = stamp, policy.list_stamps
        self._policy_error = self._list_error = None
        if policy.digest == self.current.digest:
            # The files have their old content. After an invalid version, report that they are valid again.
            self._retired.append(policy)
            if had_error:
                self._report(self.current)
            return False
        self._retired.append(self.current)
        self._replace(policy)
        return True

    def _reload_lists(self) -> bool:
        """Read the device lists again that changed. The rules stay as they are."""
        old = self.current
        tables, stamps, problems = dict(old.device_lists), dict(old.list_stamps), []
        for name, file in old.list_files.items():
            # Also those that have changed before and were invalid.
            if _read_stamp(file) != stamps[name]:
                table, found, stamps[name] = load_list(Path(file), Pace())
                problems += [problem._replace(path=("device_lists", name)) for problem in found]
                if table is not None:
                    tables[name] = table
        self._list_stamps = stamps
        had_error = self._list_error is not None
        if problems:
            error = PolicyError(old.source, problems)
            is_new = str(error) != str(self._list_error)
            self._list_error = error
            if is_new:
                self._report(error)
            return False
        self._list_error = None
        digest = digest_with_lists(old.file_digest, tables)
        if digest == old.digest:
            if had_error and self._policy_error is None:
                self._report(old)
            return False
        self._replace(old.with_lists(tables, stamps, digest))
        return True

    def _replace(self, policy: Policy) -> None:
        self.current = policy
        self._report(policy)

    def _report(self, outcome: Policy | PolicyError) -> None:
        if self._on_change is not None:
            self._on_change(outcome)

    def _dismantle_retired(self) -> None:
        """Free old policies here, in small steps, and not where the last reference happens to end."""
        waiting = []
        while self._retired:
            policy = self._retired.pop()
            # Each has two references besides those of others: one here, and the argument of the call. A policy that
            # differs in its lists only has the same rules.
            if sys.getrefcount(policy) > 2 or sys.getrefcount(policy.rules) > 2:
                waiting.append(policy)
            else:
                dismantle(policy, Pace())
        self._retired = waiting


def _collector_for(stamp: Stamp | None) -> AbstractContextManager[None]:
    return without_collector() if stamp is not None and stamp[1] >= LARGE_OCTETS else nullcontext()


def _read_stamp(path: str | Path) -> Stamp | None:
    try:
        return stamp_of(os.stat(path))
    except OSError:
        return None


def _read_stamps(files: Mapping[str, str]) -> dict[str, Stamp | None]:
    return {name: _read_stamp(file) for name, file in files.items()}

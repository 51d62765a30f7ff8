"""The policy of a running server. It follows changes of the file; an invalid file never replaces a valid policy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from policy.loader import PolicyError, load_policy
from policy.matching import Policy

# Inode, size and modification time identify a version of the file.
_Stamp = tuple[int, int, int]


class PolicyStore:
    """Holds the last valid policy of a file. Reading `current` never blocks an authentication.

    The owner calls `refresh` periodically, from a thread of its own.
    """

    def __init__(self, path: str | Path, on_change: Callable[[Policy | PolicyError], None] | None = None) -> None:
        """Load the file. Raises PolicyError: a server must not start without a valid policy."""
        self._path = Path(path)
        self._on_change = on_change
        self._stamp = self._read_stamp()
        self.current: Policy = load_policy(self._path)
        self.last_error: PolicyError | None = None

    def _read_stamp(self) -> _Stamp | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def refresh(self) -> bool:
        """Read the file again if it changed. Reports an invalid file and keeps the current policy.

        Returns whether the policy was replaced.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            policy = load_policy(self._path)
        except PolicyError as error:
            self.last_error = error
            self._report(error)
            return False
        recovered, self.last_error = self.last_error is not None, None
        if policy.digest == self.current.digest:
            # The file has its old content. After an invalid version, report that it is valid again.
            if recovered:
                self._report(self.current)
            return False
        self.current = policy
        self._report(policy)
        return True

    def _report(self, outcome: Policy | PolicyError) -> None:
        if self._on_change is not None:
            self._on_change(outcome)

"""The policy of a running server: loaded once, followed when its file changes, and never replaced by a broken one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from policy.loader import PolicyError, load_policy
from policy.matching import Policy

# Which version of the file was read: a new inode, size or time means that it has to be read again.
_Stamp = tuple[int, int, int]


class PolicyStore:
    """Holds the last good policy of a file. `current` is a plain attribute read: nothing blocks on the path.

    Somebody else's thread calls `refresh` from time to time.
    """

    def __init__(self, path: str | Path, on_change: Callable[[Policy | PolicyError], None] | None = None) -> None:
        """Load the file. Raises PolicyError: a server must not start on a policy that nobody wrote."""
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
        """Read the file again if it changed. A broken one is reported and leaves the current policy in force.

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
        mended, self.last_error = self.last_error is not None, None
        if policy.digest == self.current.digest:
            # What is in force stays; but if the file was broken in between, it is not any more.
            if mended:
                self._report(self.current)
            return False
        self.current = policy
        self._report(policy)
        return True

    def _report(self, outcome: Policy | PolicyError) -> None:
        if self._on_change is not None:
            self._on_change(outcome)

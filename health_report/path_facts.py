"""Accounts, and the owners and modes of paths. Pure."""

from __future__ import annotations

import stat
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the system, with all its groups."""

    name: str
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Node:
    """A file or folder. `mode` includes the type, as in `st_mode`."""

    path: str
    uid: int
    gid: int
    mode: int

    @property
    def permissions(self) -> str:
        """The permission bits, in octal."""
        return f"{stat.S_IMODE(self.mode):04o}"

    def allows(self, account: Account, wanted: int) -> bool:
        """Whether an account has all of the `wanted` bits: 4 to read, 2 to write, 1 to execute or enter."""
        if account.uid == 0:
            return True
        shift = 6 if account.uid == self.uid else 3 if self.gid in account.gids else 0
        return (stat.S_IMODE(self.mode) >> shift) & wanted == wanted


@dataclass(frozen=True, slots=True)
class PathFacts:
    """A path, with links resolved: all folders on the way, from the root on, and the file or folder itself.

    missing: why the way ends early, or None. filesystem: its type, such as `tmpfs`, or "" if it is unknown.
    """

    path: str
    nodes: tuple[Node, ...]
    missing: str | None = None
    filesystem: str = ""

    @property
    def node(self) -> Node | None:
        """The file or folder itself, or None if it is missing."""
        return None if self.missing or not self.nodes else self.nodes[-1]

    def obstacle(self, account: Account, wanted: int) -> Node | None:
        """The first folder that the account may not enter, or the file if it may not use that; None: it may."""
        for folder in self.nodes[:-1]:
            if not folder.allows(account, 1):
                return folder
        node = self.node
        return node if node is not None and not node.allows(account, wanted) else None

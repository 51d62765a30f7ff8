"""Reads accounts, and the owners and modes of paths."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from health_report.fact import CannotTry
from health_report.path_facts import Account, Node, PathFacts

_MOUNT_POINT = 4


def read_account(name: str | int) -> Account:
    """A user, by name or number. Raises CannotTry if it does not exist."""
    try:
        user = pwd.getpwnam(name) if isinstance(name, str) else pwd.getpwuid(name)
    except KeyError as error:
        raise CannotTry(f"user {name!r} does not exist") from error
    return Account(user.pw_name, user.pw_uid, frozenset(os.getgrouplist(user.pw_name, user.pw_gid)))


def read_paths(paths: Mapping[str, str | None]) -> dict[str, PathFacts]:
    """Owners and modes of each path that is not None, by the same keys. Never raises."""
    mounts = _read_mounts()
    return {key: _read_path(path, mounts) for key, path in paths.items() if path is not None}


def _read_path(text: str, mounts: Mapping[str, str]) -> PathFacts:
    path = Path(os.path.realpath(text))
    nodes: list[Node] = []
    missing = None
    for part in (*reversed(path.parents), path):
        try:
            status = part.stat()
        except OSError as error:
            missing = error.strerror or str(error)
            break
        nodes.append(Node(str(part), status.st_uid, status.st_gid, status.st_mode))
    place = next((str(folder) for folder in (path, *path.parents) if str(folder) in mounts), "")
    return PathFacts(text, tuple(nodes), missing, mounts.get(place, ""))


def _read_mounts() -> dict[str, str]:
    """The type of each mounted file system, by its mount point (proc(5), /proc/self/mountinfo)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        found[before.split()[_MOUNT_POINT]] = after.split()[0]
    return found

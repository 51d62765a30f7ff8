"""Gathers facts about files: the state directory, keys, and the files that the configuration names."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from health_report import Account, CannotTry, Fact, Node, NotTried, PathFacts, read_account, read_paths
from iot_registry.doctor.facts import FileFacts, SecretFile
from iot_registry.doctor.gather.probe import problem_of
from iot_registry.local import tsig_keys
from iot_registry.local.config import Settings

# Bounds the time; a registry has a handful of files.
_MAX_FILES = 10_000


def read_files(settings: Settings) -> FileFacts:
    """The state directory and the configured files. Raises CannotTry without a state directory, OSError."""
    root = settings.state_dir.absolute()
    state = _facts(root)
    if state.node is None:
        raise CannotTry(f"{root}: {state.missing}")
    nodes = list(_walk(root))
    space = os.statvfs(root)
    owner: Fact[Account]
    try:
        owner = read_account(state.node.uid)
    except CannotTry as error:
        owner = NotTried(str(error))
    tsig = settings.tsig_key_file.absolute()
    return FileFacts(
        state=state,
        owner=owner,
        foreign=tuple(node for node in nodes if node.uid != state.node.uid),
        open_keys=tuple(n for n in nodes if n.path.endswith(".key") and _in(n, root / "ca") and n.mode & 0o077),
        free_octets=space.f_bavail * space.f_frsize,
        free_inodes=space.f_favail if space.f_files else None,
        passphrases=_secrets(
            ("ca.passphrase_file", settings.ca.passphrase_file),
            ("ca.root_passphrase_file", settings.ca.root_passphrase_file),
        ),
        tls=_secrets(
            ("tls.certificate", settings.tls.certificate),
            ("tls.key", settings.tls.key),
            ("tls.anchor", settings.tls.anchor),
        ),
        tsig=_facts(tsig),
        tsig_problem=_tsig_problem(tsig),
    )


def _facts(path: Path) -> PathFacts:
    return read_paths({"path": str(path)})["path"]


def _in(node: Node, folder: Path) -> bool:
    return Path(node.path).parent == folder


def _walk(root: Path) -> Iterator[Node]:
    """The directory's files and folders, links not followed. Raises OSError if this user may not read it."""
    pending = [root]
    count = 0
    while pending and count < _MAX_FILES:
        folder = pending.pop()
        # The server makes and deletes files meanwhile.
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    yield Node(entry.path, status.st_uid, status.st_gid, status.st_mode)
                    count += 1
                    if stat.S_ISDIR(status.st_mode):
                        pending.append(Path(entry.path))


def _secrets(*named: tuple[str, Path | None]) -> tuple[SecretFile, ...]:
    return tuple(SecretFile(setting, _facts(path.absolute())) for setting, path in named if path is not None)


def _tsig_problem(path: Path) -> Fact[str | None]:
    if not path.exists():
        return NotTried(f"{path} does not exist")
    try:
        return problem_of(path, lambda: tsig_keys.load(path))
    except OSError as error:
        return NotTried(f"{path}: {error.strerror}")

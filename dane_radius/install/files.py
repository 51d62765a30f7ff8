"""Files and folders of an installation: templates, and writing them so that the server can read them."""

from __future__ import annotations

import hashlib
import importlib.resources
import os
import pwd
import re
import stat
from pathlib import Path

from dane_radius.install.errors import InstallError


def template(name: str) -> str:
    """The text of a file in the `freeradius` package."""
    return importlib.resources.files("freeradius").joinpath(name).read_text(encoding="utf-8")


def render(text: str, values: dict[str, str]) -> str:
    """Replace each `@name@` in `text` by its value. Raises InstallError for a name without a value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InstallError(f"no value for @{match[1]}@")
        return values[match[1]]

    return re.sub(r"@([a-z_]+)@", value, text)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_file(path: Path, octets: bytes, mode: int, user: pwd.struct_passwd) -> None:
    """Write a file that root owns and the group of `user` may read, as `mode` says. Replaces it atomically."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(octets)
    temporary.chmod(mode)
    _own_as_root(temporary, user)
    temporary.replace(path)


def rewrite_file(path: Path, octets: bytes) -> None:
    """Replace the content of a file atomically. The file keeps its owner and mode."""
    status = path.stat()
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(octets)
    temporary.chmod(stat.S_IMODE(status.st_mode))
    if os.geteuid() == 0:
        os.chown(temporary, status.st_uid, status.st_gid)
    temporary.replace(path)


def make_folder(path: Path, mode: int, user: pwd.struct_passwd, *, owned_by_user: bool) -> None:
    """Create a folder and its parents. `user`, or else root, owns the folder."""
    path.mkdir(parents=True)
    path.chmod(mode)
    if not owned_by_user:
        _own_as_root(path, user)
    elif os.geteuid() == 0:
        os.chown(path, user.pw_uid, user.pw_gid)


def _own_as_root(path: Path, user: pwd.struct_passwd) -> None:
    # An unprivileged process, in a test for example, stays the owner of its files.
    if os.geteuid() == 0:
        os.chown(path, 0, user.pw_gid)

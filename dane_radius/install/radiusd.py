"""The RADIUS server's program, and what its user may read."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

# A check takes seconds, and radiusd may wait for a database.
_CHECK_SECONDS = 120.0
# Lines of the server's output that a failed check shows.
_SHOWN_LINES = 12


def radiusd_program() -> str | None:
    """The path of the RADIUS server's program: `freeradius` on Debian, `radiusd` elsewhere. None if there is none."""
    search = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    return shutil.which("freeradius", path=search) or shutil.which("radiusd", path=search)


def check_configuration(raddb: Path) -> tuple[bool, str]:
    """Let the server check its configuration. Returns whether it passed, and a message for the operator."""
    program = radiusd_program()
    if program is None:
        return True, "no FreeRADIUS program found: the configuration was not checked"
    command = f"{Path(program).name} -C"
    try:
        done = subprocess.run(
            [program, "-C", "-l", "stdout", "-d", str(raddb)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False, f"{command} did not finish within {_CHECK_SECONDS:g} s; run it with -X to see where it stops"
    except OSError as error:
        return False, f"{command} cannot be run: {error.strerror}"
    if done.returncode == 0:
        return True, f"{command}: the configuration is good"
    said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_SHOWN_LINES:])
    return False, f"{command} refuses the configuration:\n{said}"


def inaccessible_folder(path: Path, user: pwd.struct_passwd) -> Path | None:
    """The folder, `path` or one of its parents, that `user` may not enter; None if the user may enter all of them."""
    return next((folder for folder in (path, *path.parents) if not _may_enter(folder, user)), None)


def _may_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    status = folder.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    groups = {user.pw_gid, *(group.gr_gid for group in grp.getgrall() if user.pw_name in group.gr_mem)}
    if status.st_gid in groups:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)

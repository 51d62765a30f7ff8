"""The folder that FreeRADIUS writes TLS sessions to: creation, permissions, and removal of old files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

# The age, in seconds, at which a session without a `.vps` file is removed. FreeRADIUS writes no such file for a session
# that was itself resumed, and cannot resume one without it. At this age, its handshake and its decision are over.
_UNRESUMABLE_SECONDS = 120


def make_session_directory(directory: str) -> bool:
    """Create the folder of session files if it is missing, and allow access to its owner only.

    Returns whether it was missing. A folder below /run is missing after a restart, because systemd clears a service's
    RuntimeDirectory=. Raises OSError, also if another user owns the folder: it contains the secrets of TLS sessions.
    """
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        status = os.lstat(directory)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "is no folder", directory) from None
        if status.st_uid != os.geteuid():
            raise PermissionError(
                errno.EPERM, f"belongs to user {status.st_uid}; the server runs as user {os.geteuid()}", directory
            ) from None
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.chmod(directory, 0o700)
        return False
    return True


def remove_session(path: str) -> None:
    """Remove the two files of a session, if they exist."""
    for name in (path, path.removesuffix(".asn1") + ".vps"):
        with contextlib.suppress(OSError):
            os.unlink(name)


def sweep_sessions(directory: str, max_age: float) -> int:
    """Remove session files older than `max_age` seconds, and those that cannot be resumed earlier than that.

    FreeRADIUS does not remove the files of abandoned handshakes, nor the `.vps` files that it writes after a decision.
    Returns the number removed.
    """
    removed = 0
    horizon = time.time() - max_age
    unresumable = time.time() - min(max_age, _UNRESUMABLE_SECONDS)
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return 0
    for entry in entries:
        if not entry.name.endswith((".asn1", ".vps")):
            continue
        try:
            written = entry.stat(follow_symlinks=False).st_mtime
            alone = entry.name.endswith(".asn1") and not os.path.exists(entry.path.removesuffix(".asn1") + ".vps")
            if written < (unresumable if alone else horizon):
                os.unlink(entry.path)
                removed += 1
        except OSError:
            continue
    return removed

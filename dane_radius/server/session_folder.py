"""The folder that FreeRADIUS writes TLS sessions to: it must be there, be ours alone, and hold nothing of no use."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

# A session without its `.vps` cannot be resumed: FreeRADIUS writes none for a session that was itself resumed. Until
# its handshake is surely over, it may still be waiting for its decision. Seconds.
_UNRESUMABLE_SECONDS = 120


def make_session_directory(directory: str) -> bool:
    """Make sure that the folder of session files is there, and ours alone. Returns whether it had to be made.

    Below /run it does not outlive a restart: systemd empties a service's RuntimeDirectory= each time. Raises OSError,
    also when it is somebody else's: it holds the secrets of TLS sessions.
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
    """Remove a session's two files, as far as they are there."""
    for name in (path, path.removesuffix(".asn1") + ".vps"):
        with contextlib.suppress(OSError):
            os.unlink(name)


def sweep_sessions(directory: str, max_age: float) -> int:
    """Remove TLS session files older than `max_age` seconds, and older ones that nobody can resume; how many went.

    FreeRADIUS never removes them itself: those of handshakes that were given up, and the `.vps` files that it writes
    after the decision.
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

"""Reading and changing what stands at paths, without following a symbolic link inside of the configuration.

On Debian, raddb belongs to the server's user. Links that this user plants must not lead root elsewhere. Each folder
below the top is therefore opened relative to the one above it (openat(2), O_NOFOLLOW). The top itself may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dane_radius.install.errors import InstallError
from dane_radius.install.nodes import Absent, File, Folder, Link, Node, Special

# Octets. Configuration files are far smaller.
_MAX_FILE = 4 * 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KINDS = {stat.S_IFBLK: "a device", stat.S_IFCHR: "a device", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class Tree:
    """The folder `root`, and folders elsewhere. Paths below `root` are never resolved through links.

    Elsewhere, such as below /var/lib, the folder that contains a path is resolved; the last name is not.
    """

    def __init__(self, root: Path) -> None:
        """Raises InstallError if `root` is not a folder, or a link to anything but a folder."""
        self.root = root
        # The parents are the operator's own, and may be links.
        parent = Path(os.path.realpath(root.parent))
        self.real = parent / root.name
        self.is_link = self.real.is_symlink()
        if self.is_link:
            self.real = parent / os.readlink(self.real)
        try:
            self._fd = os.open(self.real, _FOLDER | os.O_NOFOLLOW)
        except OSError as error:
            reason = "a link to another link" if error.errno in (errno.ELOOP, errno.EMLINK) else error.strerror
            if error.errno == errno.ENOTDIR:
                reason = "a link to another link" if self.real.is_symlink() else "not a folder"
            raise InstallError(f"{root}: {reason}; FreeRADIUS's configuration folder is expected") from error

    def close(self) -> None:
        os.close(self._fd)

    def lock(self) -> None:
        """Exclude other installers until `close`. Raises InstallError if one is running."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InstallError(
                f"{self.root}: another dane-radius install is running; wait until it has ended"
            ) from None

    @contextlib.contextmanager
    def parent(self, path: Path) -> Iterator[int]:
        """A descriptor of the folder that contains `path`. Raises InstallError on a link in between, OSError."""
        if not path.is_relative_to(self.root):
            fd = os.open(os.path.realpath(path.parent), _FOLDER | os.O_NOFOLLOW)
        else:
            fd = self._walk(path)
        try:
            yield fd
        finally:
            os.close(fd)

    def _walk(self, path: Path) -> int:
        fd = os.dup(self._fd)
        for part in path.parent.relative_to(self.root).parts:
            try:
                inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise InstallError(
                        f"{path.parent}: {part} is a symbolic link, or not a folder; the installer follows no links "
                        f"inside of {self.root}"
                    ) from error
                error.filename = str(path.parent)
                raise
            finally:
                os.close(fd)
            fd = inner
        return fd

    def observe(self, path: Path) -> Node:
        """What stands at `path`. Raises OSError, InstallError."""
        if path == self.root:
            return _folder(self._fd)
        try:
            with self.parent(path) as folder, _named(path):
                return _observe(path.name, folder)
        except (FileNotFoundError, NotADirectoryError):
            return Absent()

    def write(self, path: Path, node: File, like: Path | None = None) -> None:
        """Create a file, durably. `like`: a file whose extended attributes it gets."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self.parent(path) as folder, _named(path):
            fd = os.open(path.name, flags, 0o600, dir_fd=folder)
            try:
                view = memoryview(node.octets)
                while view:
                    view = view[os.write(fd, view) :]
                os.fchown(fd, node.uid, node.gid)
                os.fchmod(fd, node.mode)
                if like is not None:
                    _copy_attributes(like.name, folder, fd)
                os.fsync(fd)
            finally:
                os.close(fd)

    def symlink(self, path: Path, node: Link) -> None:
        with self.parent(path) as folder, _named(path):
            os.symlink(node.target, path.name, dir_fd=folder)
            os.chown(path.name, node.uid, node.gid, dir_fd=folder, follow_symlinks=False)

    def mkdir(self, path: Path, node: Folder) -> None:
        with self.parent(path) as folder, _named(path):
            os.mkdir(path.name, 0o700, dir_fd=folder)
            made = os.open(path.name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            try:
                os.fchown(made, node.uid, node.gid)
                os.fchmod(made, node.mode)
            finally:
                os.close(made)

    def hard_link(self, path: Path, name: str) -> None:
        """Give what stands at `path`, a file or a symbolic link, a second name in its folder."""
        with self.parent(path) as folder, _named(path):
            os.link(path.name, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)

    def rename(self, source: Path, path: Path) -> None:
        """Rename within one folder, durably. Replaces a file or a link at `path`."""
        with self.parent(path) as folder, _named(path):
            os.rename(source.name, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def unlink(self, path: Path) -> None:
        with self.parent(path) as folder, _named(path):
            os.unlink(path.name, dir_fd=folder)
            os.fsync(folder)

    def rmdir(self, path: Path) -> None:
        with self.parent(path) as folder, _named(path):
            os.rmdir(path.name, dir_fd=folder)
            os.fsync(folder)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    # Errors of calls with dir_fd name the last part of the path only.
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        error.filename2 = None
        raise


def _observe(name: str, folder: int) -> Node:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return Link(os.readlink(name, dir_fd=folder), status.st_uid, status.st_gid)
    if stat.S_ISDIR(status.st_mode):
        fd = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
        try:
            return _folder(fd)
        finally:
            os.close(fd)
    if not stat.S_ISREG(status.st_mode):
        return Special(_KINDS.get(stat.S_IFMT(status.st_mode), "a special file"))
    return _read(name, folder)


def _folder(fd: int) -> Folder:
    status = os.fstat(fd)
    return Folder(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, frozenset(os.listdir(fd)))


def _read(name: str, folder: int) -> Node:
    # O_NONBLOCK: a pipe may have taken the file's place meanwhile, and opening a pipe waits.
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return Special("a special file")
        octets = file.read(_MAX_FILE + 1)
    if len(octets) > _MAX_FILE:
        return Special("a file of more than 4 MiB")
    return File(octets, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)


def _copy_attributes(name: str, folder: int, target: int) -> None:
    """Copy extended attributes, such as ACLs. File systems without them are no error."""
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        for key in os.listxattr(source):
            os.setxattr(target, key, os.getxattr(source, key))
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
    finally:
        os.close(source)

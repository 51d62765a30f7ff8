"""A clean Debian system in a folder: packages are installed, and it can be booted with systemd as process 1."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import cast

from script.distribution.roots import root, run_in
from tests.integration.containers.boot import Host
from tests.integration.containers.engine import Engine

# systemd is there as on every Debian server; nothing that our packages need is.
_PACKAGES = ("ca-certificates", "procps", "systemd", "systemd-sysv", "util-linux")
_SNAPSHOT = ("etc", "opt", "usr", "var/lib", "var/log/freeradius")
# What package tools, systemd and the harness change, in any installation.
_OF_TOOLS = (
    "etc/group", "etc/gshadow", "etc/machine-id", "etc/mtab", "etc/passwd", "etc/resolv.conf", "etc/shadow",
    "etc/subgid", "etc/subuid", "etc/.pwd.lock", "etc/ld.so.cache", "etc/.updated", "etc/systemd/system/console-getty",
    "var/lib/apt", "var/lib/dpkg", "var/lib/systemd", "var/lib/logrotate", "var/lib/private", "var/lib/dbus",
    "var/log/freeradius/radius.log",
)  # fmt: skip


class _Folder:
    """What `Host` wants of an engine."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.folder = folder
        self._place = place

    def root(self, target: str) -> Path:
        return self._place


class System:
    """A copy of a clean root below `scratch`. As a context, it runs; without, commands run in a chroot.

    `shared` appears as /mnt while it does not run.
    """

    def __init__(self, scratch: Path, release: str) -> None:
        self.place = scratch / "root"
        self.shared = scratch / "shared"
        self.shared.mkdir()
        subprocess.run(["cp", "-a", "--reflink=auto", root(release, _PACKAGES, "check"), self.place], check=True)
        (self.place / "etc/systemd/system").mkdir(exist_ok=True)
        # There is no console.
        (self.place / "etc/systemd/system/console-getty.service").symlink_to("/dev/null")
        self._host = Host(cast(Engine, _Folder(scratch, self.place)))
        self._booted = False

    def run(self, *command: str, code: int | None = 0) -> str:
        """Run a command as root; returns what it prints. Raises AssertionError for another exit code; None: any."""
        done = self._run_booted(*command) if self._booted else run_in(self.place, self.shared, [*command])
        text = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{' '.join(command)}: code {done.returncode}\n{text[-3000:]}"
        return text

    def _run_booted(self, *command: str) -> subprocess.CompletedProcess[str]:
        """`Host.run` ends commands after a minute, which packages may take longer than."""
        first = str(self._host._first_process())
        environment = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
        return subprocess.run(
            ["nsenter", "--target", first, "--all", *environment, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600, check=False,
        )  # fmt: skip

    def install(self, *packages: Path) -> str:
        """Install package files, with their dependencies from the archive if the system is not booted."""
        names = []
        for package in packages:
            shutil.copy(package, self.place / "var/tmp")
            names.append(f"/var/tmp/{package.name}")
        if self._booted:
            return self.run("dpkg", "--install", *names)
        apt = ("apt-get", "--quiet", "--yes", "--no-install-recommends", "--allow-downgrades")
        return self.run(*apt, "install", *names)

    def read(self, path: str) -> str:
        return (self.place / path.lstrip("/")).read_text()

    def exists(self, path: str) -> bool:
        place = self.place / path.lstrip("/")
        return place.is_symlink() or place.exists()

    def snapshot(self, *folders: str) -> dict[str, str]:
        """Each path below `folders` (by default all that packages write to), with its content's hash or its target."""
        found = {}
        for folder in folders or _SNAPSHOT:
            for path in (self.place / folder).rglob("*"):
                name = str(path.relative_to(self.place))
                if name.startswith(_OF_TOOLS) or "__pycache__" in name:
                    continue
                if path.is_symlink():
                    found[name] = str(path.readlink())
                elif path.is_file():
                    found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
                elif path.is_dir():
                    found[name] = "folder"
        return found

    def main_process(self, unit: str) -> str:
        return self._host.main_process(unit)

    def __enter__(self) -> System:
        self._host.__enter__()
        self._booted = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._booted = False
        self._host.__exit__(kind, error, trace)

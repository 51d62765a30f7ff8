"""A Debian machine for one reader: this system's files as Debian installed them, systemd, and a loopback network.

Its changes are in memory and end with it: files (overlayfs), processes, mounts, network and control groups are its own.
Debian's packages must be installed here; `apt-get install` then finds nothing to do. No service of a package runs until
somebody starts it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.harness.deploy import REPOSITORY
from tests.harness.process import DaemonError, tail, wait_for
from tests.integration.documentation.page import Block, Commands, blocks, matches
from tests.integration.documentation.wheels import make_wheels

# Where the reader has the checkout.
CHECKOUT = "/root/dane-radius"
BOOT_SECONDS = 60.0
# A tutorial may take 90 s in all; a block that takes longer than this hangs.
PAGE_SECONDS = 300.0

# A control group for the whole machine, so that nothing of it is left in this system's hierarchy.
_OUTSIDE = """
set -e
group=$(mktemp -d)
mount -t cgroup2 cgroup2 "$group"
mkdir "$group/$1"
echo $$ >"$group/$1/cgroup.procs"
umount "$group"
rmdir "$group"
exec unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child bash -c "$3" bash "$2"
"""
_INSIDE = """
set -e
layer=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$layer/machine"
cd "$layer/machine"
mkdir changes work root
mount -t overlay -o lowerdir=/,upperdir=changes,workdir=work overlay root
cd root
# What somebody may have installed here, beside Debian's packages.
rm -rf root opt etc/dane-radius etc/iot-registry var/lib/dane-radius var/lib/iot-registry etc/systemd/system/*.wants
mkdir -m 700 root
mkdir opt
cp -a "$layer/checkout" root/dane-radius
cp -a "$layer/wheels" root/wheels
chown -R root:root root
# Nothing can be fetched.
echo 'APT::Get::Upgrade "false"; Acquire::Retries "0";' >etc/apt/apt.conf.d/99-offline
find var/log -type f -delete
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t cgroup2 cgroup2 sys/fs/cgroup
echo debian >etc/hostname
hostname debian
pivot_root . .
umount -l .
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
"""
_REMOVE_GROUP = """
set -e
group=$(mktemp -d)
mount -t cgroup2 cgroup2 "$group"
for try in $(seq 50); do
  find "$group/$1" -depth -type d -exec rmdir {} + 2>/dev/null && break
  sleep 0.1
done
umount "$group"
rmdir "$group"
"""
# The reader's shell. Each block is read from a file, so that no command takes the next block as its input.
_SHELL = """
cd "$1"
shift
for block in "$@"; do
  set -eo pipefail
  if [ -e "$block.path" ]; then
    install -D -m 644 "$block.text" "$(cat "$block.path")"
  elif [ -e "$block.may-fail" ]; then
    set +e
    . "$block.text" </dev/null >"$block.out" 2>&1
    echo $? >"$block.code"
  else
    . "$block.text" </dev/null >"$block.out" 2>&1
    echo 0 >"$block.code"
  fi
done
"""
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "COLUMNS": "100",
    "DEBIAN_FRONTEND": "noninteractive",
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/root/wheels",
    "PIP_NO_COMPILE": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
}


class BrokenPromise(AssertionError):
    """A block failed, or printed something else than its page promises."""


@dataclass
class Machine:
    """Boots at the start of the `with` block, and is gone at its end."""

    def __post_init__(self) -> None:
        self.name = f"dane-radius-reader-{os.getpid()}-{time.monotonic_ns()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._pages = 0

    def __enter__(self) -> Machine:
        self.folder = Path(tempfile.mkdtemp(prefix="dane-radius-reader-", dir="/tmp"))
        try:
            (self.folder / "machine").mkdir()
            _copy_checkout(self.folder / "checkout")
            make_wheels(self.folder / "wheels", ("registry", "device"))
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _boot(self) -> None:
        log = self.folder / "boot.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                # Even a test run that is killed takes the machine with it.
                [
                    *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount"),
                    *("bash", "-c", _OUTSIDE, "bash", self.name, self.folder, _INSIDE),
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

        def booted() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise DaemonError(f"the machine did not boot:\n{tail(log)}")
            if self._first_process() is None:
                return False
            state = self.run("systemctl", "is-system-running").stdout.strip()
            return state in ("running", "degraded")

        wait_for(booted, "systemd to start", BOOT_SECONDS, 0.1)

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            subprocess.run(["unshare", "--mount", "bash", "-c", _REMOVE_GROUP, "bash", self.name], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _first_process(self) -> int | None:
        """systemd's process ID outside: the only child of `unshare`."""
        assert self._process is not None
        pid = self._process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if len(children) == 1 and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
                return int(children[0])
        except FileNotFoundError:
            pass
        return None

    def run(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the machine."""
        pid = self._first_process()
        assert pid is not None
        enter = ["nsenter", "--target", str(pid), "--all"]
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, timeout=timeout, check=False, env=_ENVIRONMENT
        )

    def follow(self, page: Path) -> None:
        """Do what a page says, in a shell of its own. Raises BrokenPromise with the page, the line and the output."""
        self._pages += 1
        found = blocks(page)
        folder = f"/run/reader/{self._pages}"
        shell = self._path(folder)
        shell.mkdir(parents=True)
        names = [f"{number:02}" for number in range(len(found))]
        for name, block in zip(names, found, strict=True):
            (shell / f"{name}.text").write_text(block.text)
            if not isinstance(block, Commands):
                (shell / f"{name}.path").write_text(block.path)
            elif block.exit_code:
                (shell / f"{name}.may-fail").touch()
        done = self.run(
            "bash", "-c", _SHELL, "bash", CHECKOUT, *(f"{folder}/{name}" for name in names), timeout=PAGE_SECONDS
        )
        for name, block in zip(names, found, strict=True):
            self._compare(page, block, shell / name, done.stderr)

    def _path(self, path: str) -> Path:
        """A path of the machine, from outside."""
        return Path(f"/proc/{self._first_process()}/root{path}")

    def _compare(self, page: Path, block: Block, name: Path, errors: str) -> None:
        if not isinstance(block, Commands):
            return
        place = f"{page.name}:{block.line}"
        output, code = name.with_suffix(".out"), name.with_suffix(".code")
        printed = output.read_text(errors="replace") if output.exists() else ""
        if not code.exists():
            raise BrokenPromise(f"{place}: the commands failed:\n{block.text}\n{printed[-4000:]}{errors[-1000:]}")
        if (ended := int(code.read_text())) != block.exit_code:
            raise BrokenPromise(f"{place}: exit code {block.exit_code} expected, {ended} found:\n{printed[-4000:]}")
        if block.output is not None and not matches(block.output, printed):
            raise BrokenPromise(f"{place}: the page promises\n{block.output}\nand the commands printed\n{printed}")


def _copy_checkout(target: Path) -> None:
    """The files of a fresh checkout, without what tools have left in this one."""
    left = shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "*.egg-info", "tests")
    shutil.copytree(REPOSITORY, target, ignore=left)

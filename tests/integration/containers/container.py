"""One process in a container: Linux namespaces, a read-only root, no capabilities. What an engine does, on its own.

    python -m tests.integration.containers.container SPEC.json        start it; ends when it ends
    python -m tests.integration.containers.container --in PID SPEC.json   run one more command in it

What it does not do: cgroups (limits of memory, CPU and processes) and seccomp.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC, _CLONE_NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
_MNT_DETACH = 2
# prctl(2).
_SET_PDEATHSIG, _CAPBSET_READ, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 1, 23, 24, 38, 47
_CAP_AMBIENT_CLEAR_ALL = 4
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Mount:
    """A file or folder of the host at a path in the container; without `source`, a tmpfs with `options`."""

    target: str
    source: str | None = None
    read_only: bool = False
    options: str = ""


@dataclass(frozen=True)
class Spec:
    """One container. namespace: the name of a network namespace. pid_file: gets the process ID of the container."""

    name: str
    root: str
    command: list[str]
    uid: int
    gid: int
    groups: list[int]
    environment: dict[str, str]
    namespace: str
    pid_file: str
    mounts: list[Mount] = field(default_factory=list)
    files: int | None = None

    def save(self, path: Path) -> Path:
        """Write it where the commands of this module read it."""
        path.write_text(json.dumps(asdict(self)))
        return path


def load(path: str) -> Spec:
    """The opposite of `Spec.save`."""
    data = json.loads(Path(path).read_text())
    return Spec(**data | {"mounts": [Mount(**mount) for mount in data["mounts"]]})


def _call(function: str, *arguments: object) -> int:
    result: int = getattr(_libc, function)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
    return result


def _join(path: str) -> None:
    """Enter one namespace."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    _call("setns", descriptor, 0)
    os.close(descriptor)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _place(root: str, target: str, *, folder: bool) -> str:
    """The path below `root` that a mount covers: made in the container's own layer if the image does not have it."""
    path = Path(root + target)
    if folder:
        path.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(path)


def _mount_all(spec: Spec) -> None:
    root = spec.root
    _mount("--make-rprivate", "/")
    _mount("--bind", root, root)
    # Outer folders first.
    for mount in sorted(spec.mounts, key=lambda mount: mount.target.count("/")):
        if mount.source is None:
            options = ",".join(filter(None, ["nosuid,nodev,noexec", mount.options]))
            _mount("-t", "tmpfs", "-o", options, "tmpfs", _place(root, mount.target, folder=True))
            continue
        place = _place(root, mount.target, folder=os.path.isdir(mount.source))
        _mount("--bind", mount.source, place)
        if mount.read_only:
            _mount("-o", "remount,bind,ro", place)
    _mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", _place(root, "/proc", folder=True))
    _mount("-t", "sysfs", "-o", "ro,nosuid,nodev,noexec", "sysfs", _place(root, "/sys", folder=True))
    _mount_devices(_place(root, "/dev", folder=True))
    _mount("-o", "remount,bind,ro", root)


def _mount_devices(dev: str) -> None:
    _mount("-t", "tmpfs", "-o", "nosuid,noexec,mode=0755,size=64k", "tmpfs", dev)
    for name in _DEVICES:
        Path(dev, name).touch()
        _mount("--bind", f"/dev/{name}", f"{dev}/{name}")
    for name, options in (
        ("pts", "newinstance,nosuid,noexec,ptmxmode=0666,mode=0620,gid=5"),
        ("shm", "nosuid,nodev,noexec,mode=1777,size=64m"),
    ):
        os.mkdir(f"{dev}/{name}")
        _mount("-t", {"pts": "devpts", "shm": "tmpfs"}[name], "-o", options, name, f"{dev}/{name}")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")
    os.symlink("/proc/self/fd", f"{dev}/fd")
    _mount("-o", "remount,ro,nosuid,noexec", dev)


def _enter_root(root: str) -> None:
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "."], check=True)
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")


def _become(spec: Spec) -> None:
    """Give up everything: groups, user, capabilities, and the chance of getting any back."""
    capability = 0
    while _libc.prctl(_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        _call("prctl", _CAPBSET_DROP, capability, 0, 0, 0)
        capability += 1
    os.setgroups(spec.groups)
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    _call("prctl", _CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _call("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.umask(0o022)


def _execute(spec: Spec, command: list[str]) -> NoReturn:
    # Again: a change of the user clears it.
    _call("prctl", _SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        os.execvpe(command[0], command, spec.environment)  # noqa: S606
    except OSError as error:
        print(f"{spec.name}: {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)


def _in_child(action: object) -> int:
    """Fork; the child runs `action` and never returns. Returns the child's process ID."""
    child = os.fork()
    if child == 0:
        try:
            _call("prctl", _SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            action()  # type: ignore[operator]
        except BaseException as error:
            print(f"container: {error!r}", file=sys.stderr, flush=True)
        os._exit(126)
    return child


def _follow(child: int) -> NoReturn:
    """Pass SIGTERM and SIGINT on, and end as the child does."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: os.kill(child, received))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    sys.exit(code if code >= 0 else 128 - code)


def run(spec: Spec) -> NoReturn:
    """Start the container and wait for it. Ends with its exit code, or 128 and the number of the signal."""
    _join(f"/run/netns/{spec.namespace}")
    _call("unshare", _CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWPID)

    def inside() -> None:
        import resource
        import socket

        socket.sethostname(spec.name)
        if spec.files:
            # As many as this machine may give.
            limit = min(spec.files, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        # As runc does, so that the container's user may open /dev/stdout.
        for descriptor in (0, 1, 2):
            os.fchown(descriptor, spec.uid, spec.gid)
        _mount_all(spec)
        _enter_root(spec.root)
        _become(spec)
        _execute(spec, spec.command)

    child = _in_child(inside)
    Path(spec.pid_file).write_text(str(child))
    _follow(child)


def run_in(pid: int, spec: Spec, command: list[str], *, root: bool) -> NoReturn:
    """Run a command in a running container, as its user, or as root without capabilities."""
    for name in ("net", "ipc", "uts", "pid", "mnt"):
        _join(f"/proc/{pid}/ns/{name}")
    os.chdir("/")

    def inside() -> None:
        if not root:
            _become(spec)
        _execute(spec, command)

    _follow(_in_child(inside))


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments[0] == "--in":
        root = arguments[1] == "--root"
        pid, path, *command = arguments[2 if root else 1 :]
        run_in(int(pid), load(path), command, root=root)
    run(load(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])

"""The systemd units on a booted system: systemd as process 1, in namespaces of its own.

What does not hold there: limits of memory and tasks, because the control groups have no controllers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.harness.deploy import REPOSITORY
from tests.harness.process import run, tail, wait_for
from tests.integration.containers.engine import Engine
from tests.integration.containers.site import SiteError

UNITS = ("freeradius", "trust-sync", "iot-registry", "dane-operations")
_SYSTEMD = REPOSITORY / "containers" / "systemd"
# The images that have what the units start.
IMAGES = {"node": "dane-radius", "registry": "iot-registry", "operations": "dane-operations"}
BOOT_SECONDS = 120.0

# A group of its own for the whole system, so that nothing of it is left in the host's hierarchy.
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
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
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
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t cgroup2 cgroup2 sys/fs/cgroup
pivot_root . .
umount -l .
exec env -i container=check PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
"""
_TRUST_SYNC = """
[sessions]
database = "sqlite:////var/lib/dane-radius/accounting/radacct.db"
[unbound]
control_socket = "/run/unbound.ctl"
"""
_REGISTRY = """
[registry]
state_dir = "/var/lib/iot-registry"
"""
_OPERATIONS = """
[operations]
state_dir = "/var/lib/dane-operations"
"""


# By address: a bare root need not have /etc/hosts.
_HEALTH = """
import ssl, urllib.request
context = ssl.create_default_context(cafile="/var/lib/dane-operations/tls/ca.pem")
print(urllib.request.urlopen("https://127.0.0.1:8444/health", timeout=10, context=context).read().decode())
"""


@dataclass
class Host:
    """A Debian root with the units installed as their first lines say, and then booted."""

    engine: Engine

    def __post_init__(self) -> None:
        self.root = self.engine.root("host")
        self.name = f"dane-radius-boot-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Follow docs/operator.md, docs/trust-sync.md, docs/registry.md and docs/operations.md."""
        for target, package in IMAGES.items():
            run(["cp", "-a", self.engine.root(target) / "opt" / package, self.root / "opt"])
        etc = self.root / "etc"
        shutil.copytree(_SYSTEMD / "sysusers.d", etc / "sysusers.d", dirs_exist_ok=True)
        shutil.copytree(_SYSTEMD / "tmpfiles.d", etc / "tmpfiles.d", dirs_exist_ok=True)
        for unit in _SYSTEMD.glob("*.service"):
            shutil.copy(unit, etc / "systemd" / "system")
        drop_in = "freeradius.service.d"
        shutil.copytree(_SYSTEMD / drop_in, etc / "systemd" / "system" / drop_in)
        shutil.copy(REPOSITORY / "containers" / "logrotate" / "dane-radius", etc / "logrotate.d")
        shutil.copy(REPOSITORY / "containers" / "unbound" / "unbound.conf", etc / "unbound" / "unbound.conf.d")
        self._chroot("systemd-sysusers")
        # It wants /proc, which a chroot does not have.
        folders = ["trust-sync.conf", "iot-registry.conf", "dane-operations.conf"]
        run(["systemd-tmpfiles", f"--root={self.root}", "--create", *folders])
        install = ["--no-check", "--accounting", "sqlite", "--hint-socket", "/run/trust-sync/trust-sync.sock"]
        self._chroot("/opt/dane-radius/bin/dane-radius", "install", *install)
        (etc / "dane-radius" / "trust-sync.toml").write_text(_TRUST_SYNC)
        self._chroot("chgrp", "freerad", "/etc/dane-radius/trust-sync.toml")
        (etc / "iot-registry" / "iot-registry.toml").write_text(_REGISTRY)
        self._chroot("chgrp", "iot-registry", "/etc/iot-registry/iot-registry.toml")
        (etc / "dane-operations" / "dane-operations.toml").write_text(_OPERATIONS)
        self._chroot("chgrp", "dane-operations", "/etc/dane-operations/dane-operations.toml")
        # There is no console. The group is what docs/trust-sync.md says about Unbound's control socket.
        self._chroot("systemctl", "mask", "console-getty.service")
        self._chroot("systemctl", "enable", *UNITS)

    def _chroot(self, *command: str) -> str:
        return run(["chroot", self.root, *command])

    def __enter__(self) -> Host:
        log = self.engine.folder / "boot.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "bash", "-c", _OUTSIDE, "bash", self.name, self.root, _INSIDE],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        deadline = time.monotonic() + BOOT_SECONDS
        state = ""
        while state not in ("running", "degraded"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SiteError(f"systemd has not started: {state or 'no answer'}\n{tail(log)}")
            time.sleep(0.2)
            if self._first_process():
                state = self.run("systemctl", "is-system-running").stdout.strip()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        run(["unshare", "--mount", "bash", "-c", _REMOVE_GROUP, "bash", self.name])

    def _first_process(self) -> int | None:
        """systemd's process ID here: the only child of `unshare`."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) == 1 and Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
            return int(children[0])
        return None

    def run(self, *command: str, of: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the system, or in the file systems that the unit `of` sees."""
        pid = self._first_process()
        enter = ["nsenter", "--target", str(pid), "--all"]
        if of is not None:
            command = ("nsenter", "--target", self.main_process(of), "--mount", *command)
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60, check=False)

    def main_process(self, unit: str) -> str:
        """The process ID of a unit's main process in the system; "0" for none."""
        return self.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()


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


def expect(host: Host, *command: str, found: str, of: str | None = None) -> None:
    """The command's output contains `found`. Raises SiteError with the output otherwise."""
    done = host.run(*command, of=of)
    if found not in done.stdout + done.stderr:
        raise SiteError(f"{' '.join(command)}: {found!r} expected, found: {(done.stdout + done.stderr)[-1500:]}")


def active(host: Host) -> None:
    """All units run, nothing has failed, and each one's own command answers."""
    for unit in UNITS:
        done = host.run("systemctl", "is-active", unit)
        if done.stdout.strip() != "active":
            journal = host.run("journalctl", "--no-pager", "--lines=30", f"--unit={unit}").stdout
            own = tail(host.root / "var" / "log" / "freeradius" / "radius.log", 10)
            raise SiteError(f"{unit} is {done.stdout.strip()}\n{journal}\nFreeRADIUS's own log:\n{own}")
    failed = host.run("systemctl", "list-units", "--failed", "--no-legend", "--plain").stdout
    if failed:
        journal = host.run("journalctl", "--no-pager", "--lines=30", f"--unit={failed.split()[0]}").stdout
        raise SiteError(f"{failed}\n{journal}")
    expect(host, "/opt/dane-radius/bin/dane-radius", "status", "--json", found='"policy"')
    expect(host, "/opt/dane-radius/bin/trust-sync", "status", "--json", found='"anchors"')
    registry = ["runuser", "-u", "iot-registry", "--", "/opt/iot-registry/bin/iot-registry", "status", "--json"]
    expect(host, *registry, found='"outbox_pending"')
    # The standing that the service's user sets is one that the running service tells its followers of.
    name = "a1b2c3.camera._device.home.example"
    operations = ["runuser", "-u", "dane-operations", "--", "/opt/dane-operations/bin/dane-operations"]
    expect(host, *operations, "quarantine", name, "--reason", "scans the network", "--json", found='"quarantined"')
    expect(host, *operations, "status", "--json", found='"quarantined": 1')
    expect(host, "/opt/dane-operations/bin/python", "-c", _HEALTH, found='"status"')


def confined(host: Host) -> None:
    """Even root in a unit's file systems cannot write outside of the unit's folders. (The host's own can: control.)"""
    folders = {
        "freeradius": "/var/lib/dane-radius/accounting",
        "trust-sync": "/var/lib/dane-radius/anchors",
        "iot-registry": "/var/lib/iot-registry",
        "dane-operations": "/var/lib/dane-operations",
    }
    for unit, own in folders.items():
        for folder in ["/etc", "/usr", "/var/lib", *(path for name, path in folders.items() if name != unit)]:
            expect(host, "touch", f"{folder}/probe", found="Read-only file system", of=unit)
        if host.run("touch", f"{own}/probe", of=unit).returncode:
            raise SiteError(f"{unit} cannot write {own}")
        status = host.run("cat", f"/proc/{host.main_process(unit)}/status").stdout
        if not re.search(r"^CapBnd:\s+0{16}$", status, re.MULTILINE):
            raise SiteError(f"{unit} has capabilities: {status}")
    if host.run("touch", "/etc/probe").returncode:
        raise SiteError("the system's own file system is read-only")


def rotated(host: Host) -> None:
    """logrotate moves the decision log, and the module goes on in a new one."""
    log = "/var/log/freeradius/dane-radius.log"
    expect(host, "cat", log, found='"started"')
    done = host.run("logrotate", "--force", "/etc/logrotate.d/dane-radius")
    if done.returncode:
        raise SiteError(f"logrotate: {done.stderr}")
    expect(host, "stat", "--format=%U %a", log, found="freerad 640")
    expect(host, "cat", f"{log}.1", found='"started"')
    fresh = host.run("stat", "--format=%i", log).stdout.strip()
    server = host.main_process("freeradius")
    held = f"stat --dereference --format=%i /proc/{server}/fd/*"
    wait_for(lambda: fresh in host.run("sh", "-c", held).stdout.split(), "the server to open the new log", timeout=30)


def restarted(host: Host) -> None:
    """systemd restarts a unit whose process was killed."""
    for unit in UNITS:
        before = host.main_process(unit)
        host.run("kill", "-KILL", before)
        deadline = time.monotonic() + 60
        while True:
            shown = host.run("systemctl", "show", "--property=MainPID,ActiveState", unit).stdout
            found = dict(line.split("=", 1) for line in shown.splitlines())
            if found["ActiveState"] == "active" and found["MainPID"] not in (before, "0"):
                break
            if time.monotonic() > deadline:
                raise SiteError(f"{unit} was not restarted: {found}")
            time.sleep(0.2)


CHECKS = (
    ("all units run after the boot", active),
    ("each unit writes its own folders only, without capabilities", confined),
    ("the decision log is rotated", rotated),
    ("systemd restarts a killed unit", restarted),
)

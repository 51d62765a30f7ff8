"""The containers of `script/images check`, on a root that holds this machine's programs: what they confine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.harness.deploy import REPOSITORY
from tests.harness.process import wait_for
from tests.integration.containers.container import Mount, Spec
from tests.integration.containers.virtual_networks import VirtualNetworks

pytestmark = pytest.mark.daemons
_USER = 7001
_REPORT = """
import json, os
def refused(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "ids": [*os.getresuid(), *os.getresgid()], "groups": os.getgroups(),
    "pid": os.getpid(), "host": os.uname().nodename,
    "bounding": status["CapBnd"].strip(), "effective": status["CapEff"].strip(), "new": status["NoNewPrivs"].strip(),
    "root": refused("/etc/probe"), "tmp": refused("/tmp/probe"), "volume": refused("/data/probe"),
    "read-only volume": refused("/fixed/probe"), "secret": open("/run/secrets/s").read(),
    "devices": sorted(os.listdir("/dev")), "interfaces": sorted(os.listdir("/sys/class/net")),
}))
"""


@dataclass
class Place:
    """A root file system, networks, and a container's description."""

    spec: Spec
    networks: VirtualNetworks
    folder: Path

    def run(self, spec: Spec, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(spec), capture_output=True, text=True, timeout=timeout, cwd=REPOSITORY)

    def words(self, spec: Spec) -> list[str]:
        path = spec.save(self.folder / f"{spec.name}.json")
        return [sys.executable, "-m", "tests.integration.containers.container", str(path)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    root, data, fixed = tmp_path / "root", tmp_path / "data", tmp_path / "fixed"
    for folder in (root / "etc", root / "usr", data, fixed):
        folder.mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    for folder in (data, fixed):
        os.chown(folder, _USER, _USER)
    secret = tmp_path / "secret"
    secret.write_text("quiet")
    os.chown(secret, _USER, _USER)
    secret.chmod(0o400)
    with VirtualNetworks({"one": "10.84.250.0/24", "two": None}) as networks:
        mounts = [Mount("/usr", "/usr", read_only=True), Mount("/tmp", options="mode=1777"), Mount("/data", str(data))]
        mounts += [Mount("/fixed", str(fixed), read_only=True), Mount("/run/secrets/s", str(secret), read_only=True)]
        spec = Spec(
            name="probe",
            root=str(root),
            command=["/usr/bin/python3", "-I", "-c", _REPORT],
            uid=_USER,
            gid=_USER,
            groups=[7002],
            environment={"PATH": "/usr/bin"},
            namespace=networks.attach("probe", {"one": "10.84.250.9"}),
            pid_file=str(tmp_path / "pid"),
            mounts=mounts,
        )
        yield Place(spec, networks, tmp_path)


def test_a_container_has_its_user_no_privileges_and_a_read_only_root(place: Place) -> None:
    done = place.run(place.spec)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ids"] == [_USER] * 6
    assert report["groups"] == [7002]
    assert report["bounding"] == report["effective"] == "0" * 16
    assert (report["new"], report["pid"], report["host"]) == ("1", 1, "probe")
    assert report["root"] == report["read-only volume"] == "Read-only file system"
    assert report["tmp"] is None
    assert report["volume"] is None
    assert (place.folder / "data" / "probe").exists()
    assert report["secret"] == "quiet"
    assert report["interfaces"] == ["eth0", "lo"]
    assert "sda" not in report["devices"]


def test_the_root_of_another_user_is_out_of_reach(place: Place) -> None:
    script = "import os, sys; os.setuid(0)"
    done = place.run(replace(place.spec, command=["/usr/bin/python3", "-I", "-c", script]))
    assert done.returncode == 1
    assert "PermissionError" in done.stderr


def test_a_secret_of_another_user_cannot_be_read(place: Place) -> None:
    os.chown(place.folder / "secret", _USER + 1, _USER + 1)
    done = place.run(place.spec)
    assert done.returncode == 1
    assert "Permission denied: '/run/secrets/s'" in done.stderr


def test_exit_codes_and_missing_programs_are_told(place: Place) -> None:
    assert place.run(replace(place.spec, command=["/usr/bin/python3", "-c", "raise SystemExit(7)"])).returncode == 7
    missing = place.run(replace(place.spec, command=["no-such-program"]))
    assert missing.returncode == 127
    assert "no-such-program: No such file or directory" in missing.stderr


def test_sigterm_reaches_the_process_and_a_second_command_its_namespaces(place: Place) -> None:
    script = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); "
    script += "print('ready', flush=True); signal.pause()"
    spec = replace(place.spec, command=["/usr/bin/python3", "-I", "-c", script])
    with subprocess.Popen(place.words(spec), stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pid = (place.folder / "pid").read_text()
        inside = ["--in", pid, str(place.folder / "probe.json"), "/usr/bin/python3", "-I", "-c", _REPORT]
        second = subprocess.run([*place.words(spec)[:3], *inside], capture_output=True, text=True, cwd=REPOSITORY)
        report = json.loads(second.stdout)
        assert report["ids"] == [_USER] * 6
        assert report["effective"] == "0" * 16
        assert report["pid"] > 1
        as_root = [*place.words(spec)[:3], "--in", "--root", *inside[1:3], "/usr/bin/touch", "/etc/probe"]
        refused = subprocess.run(as_root, capture_output=True, text=True, cwd=REPOSITORY)
        assert "Read-only file system" in refused.stderr
        process.terminate()
        assert process.wait(20) == 5


def test_a_container_ends_with_the_program_that_started_it(place: Place) -> None:
    spec = replace(place.spec, command=["/usr/bin/sleep", "600"])
    with subprocess.Popen(place.words(spec), cwd=REPOSITORY) as process:
        wait_for((place.folder / "pid").exists, "the container")
        pid = int((place.folder / "pid").read_text())
        wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the command")
        process.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of the container")


def test_only_a_common_network_connects(place: Place) -> None:
    serve = (
        "import socket; s = socket.create_server(('0.0.0.0', 7000)); print('ready', flush=True); s.accept()[0].recv(1)"
    )
    ask = "import socket; socket.create_connection(('10.84.250.9', 7000), 2); print('connected')"
    ask_command = ["/usr/bin/python3", "-I", "-c", ask]
    stranger = place.networks.attach("stranger", place.networks.addresses({"stranger": {"two": None}})["stranger"])
    neighbour = place.networks.attach("neighbour", {"one": "10.84.250.10"})
    server = replace(place.spec, command=["/usr/bin/python3", "-I", "-c", serve])
    with subprocess.Popen(place.words(server), stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for name, namespace, connects in (("stranger", stranger, False), ("neighbour", neighbour, True)):
            pid_file = str(place.folder / f"{name}-pid")
            other = replace(
                place.spec, name=name, namespace=namespace, pid_file=pid_file, command=ask_command,
                mounts=[mount for mount in place.spec.mounts if mount.target == "/usr"],
            )  # fmt: skip
            assert (place.run(other).stdout == "connected\n") is connects
        process.kill()

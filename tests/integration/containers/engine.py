"""Images without a container engine's service: buildah builds them in chroots, in a store of our own.

No image registry is needed. The base image is made from the Debian archive of this machine, under the name that the
Dockerfile gives it. The settings of apt and pip are those of this machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.deploy import REPOSITORY

DOCKERFILE = REPOSITORY / "containers" / "images" / "Dockerfile"
STAND_INS = Path(__file__).with_name("stand-ins.Dockerfile")
TARGETS = ("node", "trust-sync", "operations", "registry", "knot", "unbound", "device")


class ImageError(RuntimeError):
    """An image could not be built or used. The message says which command failed, and the end of its output."""


@dataclass(frozen=True)
class ImageConfig:
    """What an image says about its containers."""

    user: str
    command: list[str]
    environment: dict[str, str]
    health: list[str]
    labels: dict[str, str]


def base_name(dockerfile: Path = DOCKERFILE) -> str:
    """The image that everything is built from."""
    match = re.search(r"^ARG BASE=(\S+)$", dockerfile.read_text(), re.MULTILINE)
    if match is None:
        raise ImageError(f"{dockerfile}: ARG BASE=... expected")
    return match[1]


def local_name(target: str) -> str:
    """The name of a target's image in the store."""
    return f"localhost/dane-radius/{target}:check"


@dataclass
class Engine:
    """buildah with its own store below `folder`, which may be deleted at any time.

    say: gets one line for each step. Raises ImageError.
    """

    folder: Path
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    _containers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "build.log"

    def buildah(self, *arguments: str | Path) -> str:
        """One command of buildah; returns its standard output."""
        store = ("--root", self.folder / "store", "--runroot", self.folder / "run", "--storage-driver", "overlay")
        return self._run("buildah", *store, *arguments)

    def _run(self, *command: str | Path) -> str:
        """Run a command. All that it prints is in the log, in its order."""
        with self.log.open("ab") as log, tempfile.TemporaryFile() as output:
            start = log.tell()
            # Only a build prints more than its answer.
            long = "bud" in command or command[0] != "buildah"
            done = subprocess.run(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log if long else output,
                stderr=log,
                cwd=REPOSITORY,
                check=False,
            )
            output.seek(0)
            answer = output.read().decode(errors="replace")
        if done.returncode:
            tail = self.log.read_bytes()[start:].decode(errors="replace") + answer
            last = "\n".join(line[:400] for line in tail.splitlines()[-20:])
            raise ImageError(f"{command[0]} failed with code {done.returncode} (whole log: {self.log})\n{last}")
        return answer

    def make_base(self) -> None:
        """The base image, unless the store has it."""
        name = base_name()
        if self._exists(name):
            return
        self.say(f"making {name} from the Debian archive")
        release = re.search(r":([a-z]+)-", name)
        assert release is not None
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            archive = Path(scratch) / "base.tar"
            self._run(
                *("mmdebstrap", "--mode=root", "--variant=minbase", "--include=ca-certificates"),
                # Certificates of a local CA, in case the package mirrors here have them.
                *("--customize-hook=copy-in /usr/local/share/ca-certificates /usr/local/share", "--customize-hook"),
                *('chroot "$1" update-ca-certificates', release[1], str(archive)),
            )
            container = self.buildah("from", "scratch").strip()
            try:
                self.buildah("add", "--quiet", container, archive, "/")
                self.buildah("commit", "--quiet", container, name)
            finally:
                self.buildah("rm", container)

    def build(self, target: str, dockerfile: Path = DOCKERFILE) -> None:
        """One target, from the cache as far as nothing has changed."""
        self.make_base()
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
            settings, folders = _pip_settings()
            pip = Path(scratch) / "pip.conf"
            pip.write_text(settings)
            self.buildah(
                *("bud", "--isolation=chroot", "--network=host", "--layers", "--format=docker", "--pull-never"),
                *("--secret", f"id=pip,src={pip}", "--ignorefile", ignore),
                *(word for folder in folders for word in ("--volume", f"{folder}:{folder}:ro")),
                *("--target", target, "--tag", local_name(target), "--file", dockerfile, str(REPOSITORY)),
            )

    def _exists(self, name: str) -> bool:
        try:
            self.buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", name)
        except ImageError:
            return False
        return True

    def config(self, target: str) -> ImageConfig:
        """What the image of a target says."""
        found: dict[str, Any] = json.loads(self.buildah("inspect", "--type", "image", local_name(target)))
        config = found["Docker"]["config"]
        health = (config.get("Healthcheck") or {}).get("Test") or []
        return ImageConfig(
            user=config.get("User", ""),
            command=[*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])],
            environment=dict(item.split("=", 1) for item in config.get("Env") or []),
            health=health[1:] if health[:1] == ["CMD"] else [],
            labels=config.get("Labels") or {},
        )

    def root(self, target: str) -> Path:
        """A root file system of its own, made from the image. It is there until `close`."""
        container = self.buildah("from", "--pull-never", local_name(target)).strip()
        self._containers.append(container)
        return Path(self.buildah("mount", container).strip())

    def close(self) -> None:
        """Remove all root file systems that this object has made."""
        while self._containers:
            self.buildah("rm", self._containers.pop())

    def __enter__(self) -> Engine:
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.say(f"waiting for another run with {self.folder}")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        # What a killed run left.
        self.buildah("rm", "--all")
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
        self._unmount()
        self._lock.close()

    def _unmount(self) -> None:
        """The store's own mount, and what a killed build left. With it, nobody could delete the folder."""
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in reversed(mounts):
            if Path(place).is_relative_to(self.folder.resolve()):
                subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def _pip_settings() -> tuple[str, list[str]]:
    """This machine's settings of pip as one pip.conf, and the folders that they name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings: dict[str, str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        settings[key.rsplit(".", 1)[-1]] = value.strip("'\"").replace("\\n", " ")
    folders = set()
    for path in re.findall(r"(?:^|(?<=\s)|(?<=file://))/[\w./-]+", " ".join(settings.values())):
        # The image has the machine's certificates already.
        if os.path.exists(path) and not path.startswith("/etc/ssl/"):
            # An index is a folder "simple" by convention; its files are beside it.
            folders.add(path if os.path.isdir(path) and not path.endswith("/simple") else os.path.dirname(path))
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()), sorted(folders)


def missing_programs() -> list[str]:
    """What is needed here and not installed."""
    return [name for name in ("buildah", "mmdebstrap", "ip", "openssl") if shutil.which(name) is None]

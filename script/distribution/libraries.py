"""The libraries that packages bring: wheels of the versions and hashes in containers/debian/requirements.txt."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from script.distribution.project import BuildError
from script.distribution.table import FOLDER

LOCK = FOLDER / "requirements.txt"
# What builds the wheel, so that it is the same one at any time.
BUILD_LOCK = FOLDER / "build-requirements.txt"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "dane-radius-tests"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Target:
    """A Debian release and architecture, and what wheels for it must fit."""

    release: str
    number: int
    python: str
    glibc: int
    architecture: str

    @property
    def platforms(self) -> list[str]:
        """The platform tags of wheels that run there. pip does not add older ones by itself."""
        machine = _MACHINES[self.architecture]
        return [f"manylinux_2_{minor}_{machine}" for minor in range(self.glibc, 4, -1)] + [f"manylinux2014_{machine}"]


# Python and glibc of each release.
_RELEASES = {"bookworm": (12, "3.11", 36), "trixie": (13, "3.13", 41)}
RELEASES = tuple(_RELEASES)


def target(release: str) -> Target:
    """The target of a release, for this machine's architecture. Raises BuildError."""
    number, python, glibc = _RELEASES[release]
    architecture = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if architecture not in _MACHINES:
        raise BuildError(f"architecture {architecture}: {' or '.join(_MACHINES)} expected: others lack wheels")
    return Target(release, number, python, glibc, architecture)


def this_release() -> str:
    """The Debian release of this machine."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME=")), "")


def fetch(wanted: Target, lock: Path = LOCK) -> Path:
    """The folder of the wheels that a lock file names, from the package index unless they are there. BuildError."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = CACHE / "wheels" / f"{wanted.release}-{wanted.architecture}-{lock.stem}-{digest}"
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(new, ignore_errors=True)
        _pip("download", "--quiet", "--dest", new, *_fit(wanted, lock))
        try:
            new.rename(folder)
        except OSError:
            # Another process was faster, with the same wheels.
            shutil.rmtree(new)
    return folder


def stage(wanted: Target, wheels: Path, folder: Path) -> None:
    """Install all wheels into a new folder, with no index, no scripts and no byte code."""
    _pip("install", "--quiet", "--no-index", "--find-links", wheels, "--no-compile", "--target", folder,
         *_fit(wanted, LOCK))  # fmt: skip


def _fit(wanted: Target, lock: Path) -> Iterator[str | Path]:
    yield from ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", lock)
    yield from ("--implementation", "cp", "--python-version", wanted.python, "--abi", "abi3", "--abi", "none")
    yield from ("--abi", f"cp{wanted.python.replace('.', '')}")
    for platform in wanted.platforms:
        yield from ("--platform", platform)


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"pip {arguments[0]} failed:\n{done.stderr.strip()[-2000:]}")


def closure(folder: Path, wanted: Target, names: Iterable[str], modules: Iterable[str]) -> list[Distribution]:
    """The distributions in `folder` that have the modules, or are named (`psycopg[binary]`), and all that they need.

    Sorted by name. Raises BuildError for what is not there.
    """
    staged = {canonicalize_name(found.metadata["Name"]): found for found in distributions(path=[str(folder)])}
    homes: dict[str, str] = {top: name for name, found in staged.items() for top in _top_level(found)}
    if missing := sorted(set(modules) - homes.keys()):
        raise BuildError(f"{LOCK.name} has no library with the module {missing[0]}: run `script/deb lock`")
    waiting = [Requirement(name) for name in names] + [Requirement(homes[module]) for module in modules]
    done: set[tuple[NormalizedName, str]] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in done:
                continue
            done.add((name, extra))
            if name not in staged:
                raise BuildError(f"{LOCK.name} has no {name}: run `script/deb lock`")
            waiting += _requirements(staged[name], wanted, extra)
    return [staged[name] for name in sorted({name for name, _ in done})]


def _requirements(found: Distribution, wanted: Target, extra: str) -> Iterator[Requirement]:
    environment: dict[str, str] = {str(key): str(value) for key, value in default_environment().items()}
    environment |= {"python_version": wanted.python, "python_full_version": f"{wanted.python}.0", "extra": extra}
    for line in found.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield requirement


def files_of(found: Distribution) -> list[str]:
    """The installed files of a distribution, relative to its folder, without those that only pip uses."""
    text = found.read_text("RECORD") or ""
    paths = [line.rsplit(",", 2)[0].strip('"') for line in text.splitlines() if line]
    return [path for path in paths if not _unwanted(path)]


def _unwanted(path: str) -> bool:
    return path.partition("/")[0] in _ASTRAY or Path(path).name in _OF_PIP or bool(_UNUSED.match(path))


# Scripts, and what some wheels have beside their packages by mistake.
_ASTRAY = frozenset({"..", "", "bin", "docs", "example", "examples", "test", "tests"})
# Tables of manufacturers (9 MB), which pyrad does not use. netaddr loads them on demand.
_UNUSED = re.compile(r"netaddr/eui/(iab|oui)\.(idx|txt)$")
_OF_PIP = frozenset({"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json"})


def _top_level(found: Distribution) -> set[str]:
    firsts = {path.partition("/")[0] for path in files_of(found) if path.endswith((".py", ".so"))}
    return {first.partition(".")[0] for first in firsts}

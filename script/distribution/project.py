"""The project as a source tree: its metadata, its files at a commit or as they are, and the date of a build."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class BuildError(RuntimeError):
    """Something could not be built. The message says what, and what to do."""


@dataclass(frozen=True)
class Project:
    """What setup.cfg says. `commands`: place in the code (`module:attribute`) by program."""

    folder: Path
    name: str
    version: str
    description: str
    requirements: tuple[str, ...]
    commands: dict[str, str]


def read_project(folder: Path) -> Project:
    """The project in a source tree. `requirements` has those of all extras, except what only contributors need."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(folder / "setup.cfg")
    metadata, extras = config["metadata"], config["options.extras_require"]
    requirements = [config["options"]["install_requires"]]
    requirements += [text for name, text in extras.items() if name not in ("dev", "release")]
    scripts = (line.partition("=") for line in _lines(config["options.entry_points"]["console_scripts"]))
    return Project(
        folder,
        metadata["name"],
        metadata["version"],
        metadata["description"],
        tuple(line for text in requirements for line in _lines(text)),
        {name.strip(): place.strip() for name, _, place in scripts},
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def export(ref: str | None, target: Path, version: str | None = None) -> Project:
    """Write the files of a commit, or of the checkout as it is, into a new folder.

    Files that git ignores are left out. version: written into setup.cfg, if given.
    """
    target.mkdir(parents=True)
    if ref is not None:
        archive = subprocess.run(["git", "archive", ref], cwd=REPOSITORY, capture_output=True, check=False)
        if archive.returncode:
            raise BuildError(f"{ref}: {archive.stderr.decode(errors='replace').strip()}")
        subprocess.run(["tar", "-x", "--no-same-owner", "-C", target], input=archive.stdout, check=True)
    else:
        for name in _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
            if name and (REPOSITORY / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, target / name)
    _plain_modes(target)
    if version is not None:
        settings = target / "setup.cfg"
        settings.write_text(re.sub(r"(?m)^version = .*$", f"version = {version}", settings.read_text(), count=1))
    return read_project(target)


def _plain_modes(folder: Path) -> None:
    """Modes that do not depend on the umask of the person who made the checkout."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def epoch(ref: str | None) -> int:
    """The date of a build, in seconds since 1970: SOURCE_DATE_EPOCH, or that of the commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or _git("log", "-1", "--format=%ct", ref or "HEAD"))


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"git {arguments[0]}: {done.stderr.strip()}; this works in a checkout only")
    return done.stdout


def debian_version(version: str, release_number: int) -> str:
    """The version of a Debian package for Debian `release_number`.

    A pre-release (`1.0rc1`, `1.0.dev2`) precedes its release, this project's packages precede those that Debian may
    have, and a package for a later Debian release replaces the same version for an earlier one.
    """
    upstream = re.sub(r"\.?(a|b|rc|dev)(\d+)", r"~\1\2", version)
    return f"{upstream}-1~deb{release_number}"

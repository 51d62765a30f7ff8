"""Chooses the libraries that packages bring: `containers/debian/requirements.txt` and `build-requirements.txt`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from script.distribution.libraries import BUILD_LOCK, LOCK
from script.distribution.project import REPOSITORY, BuildError, read_project

# The oldest Python of the releases. Markers in the file make it fit all.
_PYTHON = "3.11"
_BUILD = ("setuptools>=77",)


def write_locks(say: Callable[[str], None]) -> None:
    """Write both files, with the hashes of all wheels of each version. Raises BuildError."""
    for path, requirements in ((LOCK, read_project(REPOSITORY).requirements), (BUILD_LOCK, _BUILD)):
        done = subprocess.run(
            ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", _PYTHON, "--upgrade",
             "--generate-hashes", "--no-header", "--no-annotate", "-", "--output-file", path],
            input="\n".join(requirements), cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BuildError(f"uv failed:\n{done.stderr.strip()}")
        count = sum("==" in line for line in path.read_text().splitlines())
        say(f"wrote {path.relative_to(REPOSITORY)}: {count} libraries")

"""The libraries of this Python environment as wheels: `pip install .` then works without the Internet."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

# From this version on, setuptools builds wheels without another package.
_SETUPTOOLS = Version("70.1")


def make_wheels(folder: Path, extras: tuple[str, ...]) -> None:
    """Put what the project needs into `folder`: its dependencies with `extras`, and setuptools to build it."""
    folder.mkdir(parents=True, exist_ok=True)
    for found in _needed("dane-radius", extras).values():
        if _canonical(found.metadata["Name"]) != "dane-radius":
            _pack(found, folder)
    try:
        builder = distribution("setuptools")
    except PackageNotFoundError:
        builder = None
    if builder is not None and Version(builder.version) >= _SETUPTOOLS:
        _pack(builder, folder)
    else:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--disable-pip-version-check"]
        subprocess.run([*command, "-d", str(folder), f"setuptools>={_SETUPTOOLS}"], check=True, timeout=120)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _needed(name: str, extras: tuple[str, ...]) -> dict[str, Distribution]:
    """A distribution and everything that it requires here."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = distribution(name)
        for text in found[name].requires or ():
            required = Requirement(text)
            if required.marker is None or required.marker.evaluate({"extra": extra}):
                waiting += [(_canonical(required.name), each) for each in ("", *required.extras)]
    return found


def _pack(found: Distribution, folder: Path) -> None:
    """Write an installed distribution as a wheel. pip makes its programs again from the entry points."""
    # py2-none-any and py3-none-any stand in a file's name as py2.py3-none-any.
    tags = [tag.split("-") for tag in re.findall(r"^Tag: (\S+)$", found.read_text("WHEEL") or "", re.MULTILINE)]
    tag = "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True))
    name = re.sub(r"[-_.]+", "_", found.metadata["Name"])
    with zipfile.ZipFile(folder / f"{name}-{found.version}-{tag}.whl", "w") as wheel:
        for file in found.files or ():
            inside = not file.as_posix().startswith("..") and file.suffix != ".pyc"
            if inside and file.name not in ("INSTALLER", "REQUESTED", "direct_url.json"):
                wheel.write(str(found.locate_file(file)), file.as_posix())

"""The files of one Debian package, as a folder that becomes its root: code, libraries, commands, pages, documents."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

from script.distribution.libraries import files_of
from script.distribution.project import REPOSITORY, BuildError, Project
from script.distribution.table import Package

# -I: no environment variable and no user's folder changes what runs. -S: no library of the system's Python does.
_COMMAND = """\
#!/usr/bin/python3 -IS
import sys

sys.path.insert(0, "{folder}")
from {module} import {function}

sys.exit({function}())
"""


def write_tree(
    package: Package, project: Project, wheel: Path, modules: frozenset[str], found: list[Distribution], folder: Path
) -> None:
    """Write the files of a package below `folder`, except for those that debhelper places.

    wheel: of the project. modules: its top-level packages that the package has. found: the libraries that it brings.
    """
    library = folder / package.folder.lstrip("/")
    library.mkdir(parents=True)
    _unpack(wheel, modules, library)
    for distribution in found:
        for name in files_of(distribution):
            source = Path(str(distribution.locate_file(name)))
            if source.is_file():
                (library / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, library / name)
    for command in package.commands:
        _write_command(folder / "usr/bin" / command, package, project.commands[command])
    documents = folder / "usr/share/doc" / package.name
    documents.mkdir(parents=True)
    for name in package.docs:
        _copy(project.folder / name, documents)
    for name in package.examples:
        _copy(project.folder / name, documents / "examples")


def _unpack(wheel: Path, modules: frozenset[str], folder: Path) -> None:
    """The modules in a wheel, and its metadata, which has the version."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            top, _, rest = name.partition("/")
            if top in modules or (top.endswith(".dist-info") and rest in ("METADATA", "licenses/LICENSE")):
                archive.extract(name, folder)


def _write_command(path: Path, package: Package, place: str) -> None:
    module, _, function = place.partition(":")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_COMMAND.format(folder=package.folder, module=module, function=function))
    path.chmod(0o755)


def _copy(source: Path, folder: Path) -> None:
    """A document or example. One that an older commit does not have is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, folder / source.name)
    elif source.exists():
        shutil.copy(source, folder)


def write_pages(package: Package, project: Project, folder: Path, epoch: int, *, debian: bool = True) -> None:
    """The manual pages and completion scripts of a package's commands, below `folder` as /usr or /usr/local."""
    commands = [f"{name}={project.commands[name]}" for name in package.commands]
    done = subprocess.run(
        [sys.executable, "-m", "script.distribution.commands", project.folder, folder, project.version, str(epoch),
         "debian" if debian else "other", *commands],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"the commands of {package.name} do not load:\n{done.stderr.strip()[-2000:]}")


def unit_text(text: str, package: Package) -> str:
    """A unit of containers/systemd with the package's paths, and without how to copy it."""
    text = re.sub(r"(?m)^#\n(?=#   cp )", "", text)
    text = re.sub(r"(?m)^#   cp .*\n", "", text)
    text = re.sub(r"/opt/[\w-]+/bin/", "/usr/bin/", text)
    return text.replace("/usr/share/doc/dane-radius/", f"/usr/share/doc/{package.name}/")

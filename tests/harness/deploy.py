"""Copy the checkout to where the RADIUS server's user can read it. The checkout itself may be open to root only."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("dane_radius", "health_report", "policy", "freeradius", "trust_sync")
# Only developers need these; the copy stays small without them.
_SKIPPED = ("mypy", "ruff", "pip", "setuptools", "pytest", "hypothesis", "schemathesis", "graphql", "sqlalchemy")


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def deploy(folder: Path) -> str:
    """Copy packages and libraries into `folder`; returns the Python path that the embedded interpreter needs.

    Files are linked, not copied, where the file system allows.
    """
    libraries = folder / "lib"
    site_packages = Path(sysconfig.get_path("purelib"))

    def skip(parent: str, names: list[str]) -> set[str]:
        if Path(parent) != site_packages:
            return {name for name in names if name == "__pycache__" and Path(parent).parts[-1] == "tests"}
        return {name for name in names if name.lower().startswith(_SKIPPED)}

    shutil.copytree(site_packages, libraries, copy_function=_link_or_copy, ignore=skip)
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, libraries / package, ignore=shutil.ignore_patterns("__pycache__"))
    folder.chmod(0o755)
    libraries.chmod(0o755)
    standard = [entry for entry in sys.path if entry.startswith("/usr/lib/python3") and "packages" not in entry]
    return ":".join([str(libraries), *(entry for entry in standard if os.path.isdir(entry))])

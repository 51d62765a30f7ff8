"""The table of Debian packages, containers/debian/packages.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from script.distribution.project import REPOSITORY, BuildError

FOLDER = REPOSITORY / "containers" / "debian"


@dataclass(frozen=True)
class Package:
    """One Debian package. The table's first lines say what each field means."""

    name: str
    summary: str
    description: str
    modules: tuple[str, ...]
    commands: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    sysusers: tuple[str, ...] = ()
    tmpfiles: tuple[str, ...] = ()
    logrotate: tuple[str, ...] = ()
    docs: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Where the modules and libraries are, as the installed system names it."""
        return f"/usr/lib/{self.name}"


@dataclass(frozen=True)
class Table:
    """All packages, and what they have in common."""

    maintainer: str
    homepage: str
    packages: tuple[Package, ...]

    def only(self, names: Iterable[str]) -> Table:
        """The table with these packages. Raises BuildError for a name that it does not have."""
        known = {package.name: package for package in self.packages}
        try:
            return replace(self, packages=tuple(known[name] for name in names))
        except KeyError as error:
            raise BuildError(f"no package {error}: {', '.join(known)} are known") from error


def read_table(path: Path = FOLDER / "packages.toml") -> Table:
    """Raises BuildError for a key that is unknown or missing."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    known = {field.name for field in fields(Package)}
    packages = []
    for name, section in data.pop("packages").items():
        if unknown := section.keys() - known:
            raise BuildError(f"{path}: packages.{name}: unknown key {sorted(unknown)[0]}")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in section.items()
        }
        try:
            packages.append(Package(name=name, **values))
        except TypeError as error:
            raise BuildError(f"{path}: packages.{name}: {error}") from error
    return Table(packages=tuple(packages), **data)

"""Debian packages: the packaging files made from the table, and dpkg-buildpackage with debhelper."""

from __future__ import annotations

import email.utils
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

from script.distribution import imports, libraries, wheel
from script.distribution.libraries import Target
from script.distribution.package_tree import unit_text, write_pages, write_tree
from script.distribution.project import BuildError, Project, debian_version, epoch, export
from script.distribution.roots import root, run_in
from script.distribution.sbom import license_of, sbom
from script.distribution.table import FOLDER, Package, Table

BUILD_PACKAGES = ("ca-certificates", "debhelper", "dpkg-dev")
_SCRIPTS = ("postinst", "postrm", "preinst", "prerm")


@dataclass(frozen=True)
class Build:
    """One build of all packages.

    work: a folder of its own. quick: compress little. say: gets a line for each step.
    """

    table: Table
    target: Target
    work: Path
    ref: str | None = None
    version: str | None = None
    quick: bool = False
    say: Callable[[str], None] = lambda line: None

    def run(self, output: Path) -> list[Path]:
        """Build, and move the packages to `output`; returns their paths. Raises BuildError."""
        date = epoch(self.ref)
        project = export(self.ref, self.work / "source", self.version)
        version = debian_version(project.version, self.target.number)
        self.say(f"building {project.name} {version}")
        wheels = libraries.fetch(self.target)
        staged = self.work / "libraries"
        libraries.stage(self.target, wheels, staged)
        built = wheel.build(project.folder, self.work / "wheel", "wheel", date)
        place = self.work / "build" / f"{project.name}-{project.version}"
        for package in self.table.packages:
            modules, others = imports.needed(project.folder, package.modules)
            found = libraries.closure(staged, self.target, package.libraries, others)
            tree = place / "stage" / package.name
            write_tree(package, project, built, modules, found, tree)
            write_pages(package, project, tree / "usr", date)
            components = sbom(project, package.name, version, found, wheels, date)
            (tree / "usr/share/doc" / package.name / "sbom.cdx.json").write_text(components)
            _write_packaging(place / "debian", package, project, found)
        _write_common(place / "debian", self.table, project, version, date, self.target)
        _set_dates(place, date)
        self._build(place, date)
        output.mkdir(parents=True, exist_ok=True)
        made = sorted(path for path in place.parent.iterdir() if path.suffix in (".deb", ".buildinfo", ".changes"))
        return [Path(shutil.copy(path, output)) for path in made if path.suffix == ".deb"]

    def _build(self, place: Path, date: int) -> None:
        """dpkg-buildpackage: here, or in a root of the target's release."""
        # Nothing is compiled, so the build needs no compiler, which dpkg-buildpackage would insist on.
        command = ["dpkg-buildpackage", "--build=binary", "--no-sign", "--no-check-builddeps"]
        settings = {"SOURCE_DATE_EPOCH": str(date), "TZ": "UTC", "LC_ALL": "C.UTF-8",
                    "DEB_BUILD_OPTIONS": f"parallel={os.cpu_count()}{' quick' * self.quick}"}  # fmt: skip
        if self.target.release == libraries.this_release():
            done = subprocess.run(
                command, cwd=place, env={**os.environ, **settings}, capture_output=True, text=True, umask=0o022,
                check=False,
            )  # fmt: skip
        else:
            self.say(f"dpkg-buildpackage runs in a root of {self.target.release}")
            inside = root(self.target.release, BUILD_PACKAGES, "build")
            script = f"cd /mnt/{place.name} && exec {' '.join(command)}"
            done = run_in(inside, place.parent, ["sh", "-c", script], settings)
        if done.returncode:
            raise BuildError(f"dpkg-buildpackage failed:\n{(done.stdout + done.stderr).strip()[-4000:]}")


def build(
    table: Table, target: Target, output: Path, *,
    ref: str | None = None, version: str | None = None, quick: bool = False, say: Callable[[str], None],
) -> list[Path]:  # fmt: skip
    """Build all packages in a temporary folder. See `Build`."""
    with tempfile.TemporaryDirectory(prefix="deb-") as work:
        Path(work).chmod(0o755)
        return Build(table, target, Path(work), ref, version, quick, say).run(output)


def _write_common(debian: Path, table: Table, project: Project, version: str, date: int, target: Target) -> None:
    """control, changelog, rules, copyright."""
    when = email.utils.formatdate(date)
    changelog = (
        f"{project.name} ({version}) {target.release}; urgency=medium\n\n"
        f"  * Version {project.version}. The changes are in changelog.gz.\n\n -- {table.maintainer}  {when}\n"
    )
    (debian / "changelog").write_text(changelog)
    (debian / "control").write_text(control(table, project, target))
    (debian / "source").mkdir()
    (debian / "source" / "format").write_text("3.0 (quilt)\n")
    rules = debian / "rules"
    rules.write_text((FOLDER / "rules").read_text() + unit_rules(table.packages))
    rules.chmod(0o755)
    shutil.copy(project.folder / "CHANGELOG.md", debian.parent / "CHANGELOG.md")


def control(table: Table, project: Project, target: Target) -> str:
    """debian/control. The libraries are compiled for one version of Python, so a package depends on it exactly."""
    major, _, minor = target.python.partition(".")
    python = (f"python3 (>= {target.python})", f"python3 (<< {major}.{int(minor) + 1})")
    stanzas = [
        f"Source: {project.name}\nSection: net\nPriority: optional\nMaintainer: {table.maintainer}\n"
        f"Build-Depends: debhelper-compat (= 13)\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n"
        f"Homepage: {table.homepage}\n"
    ]
    for package in table.packages:
        depends = ("${shlibs:Depends}", "${misc:Depends}", *python, *package.depends)
        fields = {"Depends": depends, "Recommends": package.recommends, "Suggests": package.suggests}
        text = package.description.strip().replace("\n\n", "\n.\n").replace("\n", "\n ")
        stanzas.append(
            f"Package: {package.name}\nArchitecture: any\n"
            + "".join(f"{name}: {', '.join(values)}\n" for name, values in fields.items() if values)
            + f"Description: {package.summary}\n {text}\n"
        )
    return "\n".join(stanzas)


def unit_rules(packages: Iterable[Package]) -> str:
    """The rule that installs all units without enabling them. An upgrade restarts those that run."""
    lines = [
        f"\tdh_installsystemd -p{package.name} --no-enable --name={unit.partition('.')[0]}\n"
        for package in packages
        for unit in package.units
    ]
    return "\noverride_dh_installsystemd:\n" + "".join(lines)


def _write_packaging(debian: Path, package: Package, project: Project, found: list[Distribution]) -> None:
    """What debhelper reads for one package: units and the like, maintainer scripts, copyright."""
    debian.mkdir(exist_ok=True)
    systemd = project.folder / "containers" / "systemd"
    for unit in package.units:
        (debian / f"{package.name}.{unit}").write_text(unit_text((systemd / unit).read_text(), package))
    for kind in ("sysusers", "tmpfiles"):
        names = getattr(package, kind)
        if names:
            texts = [(systemd / f"{kind}.d" / name).read_text() for name in names]
            (debian / f"{package.name}.{kind}").write_text("".join(texts))
    for name in package.logrotate:
        shutil.copy(project.folder / "containers" / "logrotate" / name, debian / f"{package.name}.logrotate")
    for script in (*_SCRIPTS, "README.Debian", "lintian-overrides"):
        sources = (FOLDER / f"{package.name}.{script}", FOLDER / f"default.{script}")
        for source in sources:
            if source.exists():
                (debian / f"{package.name}.{script}").write_text(source.read_text().replace("@package@", package.name))
                break
    (debian / f"{package.name}.install").write_text(f"stage/{package.name}/* /\n")
    (debian / f"{package.name}.copyright").write_text(copyright_text(package, found))


def copyright_text(package: Package, found: Iterable[Distribution]) -> str:
    """The licence of the project, and of each library that the package brings."""
    text = (FOLDER / "copyright").read_text()
    for library in found:
        text += f" {library.metadata['Name']} {library.version}: {license_of(library)}\n"
    return text.replace("@folder@", package.folder)


def _set_dates(folder: Path, date: int) -> None:
    """All files have the date of the build, and plain modes."""
    for path in folder.rglob("*"):
        executable = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (date, date))

"""`script/release`: wheel, sdist, manual pages and completion, list of components, changes and checksums in dist/."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from script.distribution import libraries, wheel
from script.distribution.package_tree import write_pages
from script.distribution.project import REPOSITORY, BuildError, Project, epoch, export
from script.distribution.sbom import sbom
from script.distribution.table import read_table

OUTPUT = REPOSITORY / "dist"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--ref", help="A commit or tag to build, in place of the checkout as it is.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=OUTPUT,
    help="The folder for the files; dist/ by default.",
)
@click.option("--once", is_flag=True, help="Build once, and compare nothing.")
def main(ref: str | None, output: Path, once: bool) -> None:
    """Build the wheel, the sdist and what goes with them. Build everything twice, and compare.

    \b
    dane_radius-VERSION-py3-none-any.whl
    dane_radius-VERSION.tar.gz          the sdist, which builds the same wheel
    dane-radius-VERSION-shell.tar.gz    manual pages and shell completion, for /usr/local
    dane-radius-VERSION.cdx.json        the tested libraries (CycloneDX 1.6)
    dane-radius-VERSION.md              the changes of this version
    SHA256SUMS

    \b
    Examples:
      script/release
      script/release --ref v0.2.0 --output /tmp/release

    Exit codes: 0 done, 1 failed, 2 wrong usage. SOURCE_DATE_EPOCH sets another date than that of the commit.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="release-") as work:
            made = assemble(Path(work) / "a", ref)
            if not once:
                compare(made, assemble(Path(work) / "b", ref))
            output.mkdir(parents=True, exist_ok=True)
            for path in made:
                click.echo(Path(shutil.copy(path, output)))
    except BuildError as error:
        raise click.ClickException(str(error)) from error


def assemble(work: Path, ref: str | None) -> list[Path]:
    """Build all files below `work`; returns their paths. Raises BuildError."""
    date = epoch(ref)
    project = export(ref, work / "source")
    folder = work / "dist"
    sdist = wheel.build(project.folder, folder, "sdist", date)
    built = wheel.build(project.folder, folder, "wheel", date)
    same_wheel(sdist, built, work / "sdist", date)
    base = f"{project.name}-{project.version}"
    (folder / f"{base}-shell.tar.gz").write_bytes(shell_archive(project, work / "shell", date))
    (folder / f"{base}.cdx.json").write_text(_components(project, work / "libraries", date))
    (folder / f"{base}.md").write_text(changes((project.folder / "CHANGELOG.md").read_text(), project.version))
    files = sorted(folder.iterdir())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))
    return [*files, folder / "SHA256SUMS"]


def same_wheel(sdist: Path, built: Path, folder: Path, date: int) -> None:
    """The sdist alone builds the same wheel. Raises BuildError."""
    folder.mkdir()
    subprocess.run(["tar", "-x", "-z", "-f", sdist, "--no-same-owner", "-C", folder], check=True)
    (source,) = folder.iterdir()
    again = wheel.build(source, folder / "dist", "wheel", date)
    if again.read_bytes() != built.read_bytes():
        raise BuildError(f"{sdist.name} builds another wheel than the checkout does")


def shell_archive(project: Project, folder: Path, date: int) -> bytes:
    """Manual pages and completion of all commands, as an archive of share/."""
    package = replace(read_table().packages[0], commands=tuple(project.commands))
    write_pages(package, project, folder, date, debian=False)
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return wheel.tar_gz(files, date)


def _components(project: Project, folder: Path, date: int) -> str:
    """The libraries of the lock file, all of them."""
    target = libraries.target(libraries.this_release())
    wheels = libraries.fetch(target)
    libraries.stage(target, wheels, folder)
    found = libraries.closure(folder, target, project.requirements, ())
    return sbom(project, project.name, project.version, found, wheels, date)


def changes(changelog: str, version: str) -> str:
    """The section of a version in the changelog; that of unreleased changes, if it has none. Raises BuildError."""
    sections = re.split(r"(?m)^(?=## \[)", changelog)
    for name in (version, "Unreleased"):
        for section in sections:
            if section.startswith(f"## [{name}]"):
                return section.strip() + "\n"
    raise BuildError(f"CHANGELOG.md has neither a section for {version} nor one for unreleased changes")


def compare(first: list[Path], second: list[Path]) -> None:
    """Both builds have the same files with the same octets. Raises BuildError."""
    if [path.name for path in first] != [path.name for path in second]:
        raise BuildError("a second build has other files")
    for one, other in zip(first, second, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise BuildError(f"{one.name}: a second build differs")


if __name__ == "__main__":
    main(prog_name="script/release")

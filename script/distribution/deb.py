"""`script/deb`: builds the Debian packages, and checks them."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from script.distribution import libraries
from script.distribution.debian import build as build_packages
from script.distribution.lock import write_locks
from script.distribution.project import REPOSITORY, BuildError
from script.distribution.table import read_table

OUTPUT = REPOSITORY / "dist" / "deb"


def _say(line: str) -> None:
    click.echo(f"script/deb: {line}", err=True)


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Reports what the user can act on without a traceback."""
    try:
        yield
    except (BuildError, AssertionError) as error:
        raise click.ClickException(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Build the Debian packages of the table containers/debian/packages.toml.

    Each package brings its Python libraries, in the versions of containers/debian/requirements.txt. A package fits one
    Debian release. Two builds of the same commit are identical.

    \b
    Examples:
      script/deb build
      script/deb build --on trixie
      script/deb check

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """


RELEASE = click.option(
    "--on",
    "release",
    type=click.Choice(libraries.RELEASES),
    default=libraries.this_release,
    help="The Debian release that the packages are for; that of this machine by default.",
)


@main.command()
@click.argument("packages", nargs=-1)
@RELEASE
@click.option("--ref", help="A commit or tag to build, in place of the checkout as it is.")
@click.option("--version", help="A version to build, in place of the one in setup.cfg, such as 0.2.1.dev1.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help=f"The folder for packages.  [{OUTPUT.name}/...]"
)
def build(packages: tuple[str, ...], release: str, ref: str | None, version: str | None, output: Path | None) -> None:
    """Build all packages, or those that are named. Needs the Python package index, unless its wheels are in the cache.

    \b
    Examples:
      script/deb build iot-registry
      script/deb build --on trixie
      script/deb build --ref v0.2.0 --output /tmp/old
    """
    with _reported():
        table = read_table().only(packages) if packages else read_table()
        made = build_packages(
            table, libraries.target(release), output or OUTPUT / release, ref=ref, version=version, say=_say
        )
    for path in made:
        click.echo(path)


@main.command()
@click.argument("packages", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
def lint(packages: tuple[Path, ...]) -> None:
    """Run lintian on packages: those of the last build for this release by default.

    What is wrong here on purpose is overridden in containers/debian/*.lintian-overrides, with its reason.
    """
    chosen = packages or tuple(sorted((OUTPUT / libraries.this_release()).glob("*.deb")))
    command: list[str | Path] = ["lintian", "--fail-on", "warning", "--tag-display-limit", "0", *chosen]
    raise SystemExit(subprocess.run(command, check=False).returncode)


@main.command()
def lock() -> None:
    """Choose the newest libraries that setup.cfg allows, and write their versions and hashes.

    Run the tests afterwards, and commit containers/debian/*requirements.txt.
    """
    with _reported():
        write_locks(_say)


@main.command()
@RELEASE
@click.option("--previous", default="v0.2.0", show_default=True, help="The commit of the version to upgrade from.")
@click.option("--short", is_flag=True, help="Without systemd, and without the checks that need it.")
def check(release: str, previous: str, short: bool) -> None:
    """Build the packages of two versions, and install, run, upgrade, roll back, remove and purge them.

    Runs on a clean Debian in namespaces of its own, with systemd as process 1. Needs root, Debian's package archive and
    the Python package index.
    """
    from tests.integration.packages.story import check as check_packages

    with _reported(), tempfile.TemporaryDirectory(prefix="deb-check-") as scratch:
        check_packages(Path(scratch), release, previous, short=short, say=_say)


if __name__ == "__main__":
    main(prog_name="script/deb")

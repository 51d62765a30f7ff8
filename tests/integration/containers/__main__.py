"""`script/images`: build the images, run the compose file's services from them, and check what must hold."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from tests.integration.containers.boot import CHECKS as BOOT_CHECKS
from tests.integration.containers.boot import IMAGES, Host
from tests.integration.containers.compose_model import load_compose
from tests.integration.containers.engine import TARGETS, Engine, missing_programs
from tests.integration.containers.site import Site
from tests.integration.containers.story import CHECKS, NOT_RUN, build_all, own_services

CACHE = Path(os.environ.get("XDG_CACHE_HOME", "/var/cache")) / "dane-radius-tests" / "images"


def _say(line: str) -> None:
    click.echo(f"script/images: {line}", err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Build the container images, and run the site of containers/compose/compose.yaml from them.

    Needs root, and no container engine, image registry or network beyond the Debian and Python package indexes.

    \b
    Examples:
      script/images check
      script/images boot
      script/images build node trust-sync

    Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    if os.geteuid() != 0:
        raise click.ClickException("run it as root: it mounts file systems and makes network namespaces")
    if missing := missing_programs():
        raise click.ClickException(f"not installed: {', '.join(missing)}")


CACHE_OPTION = click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=CACHE,
    show_default=True,
    help="Where images are kept between runs (about 4 GB)..",
)


@main.command()
@click.argument("targets", nargs=-1, type=click.Choice([*TARGETS, "postgres", "prometheus", "host"]))
@CACHE_OPTION
def build(targets: tuple[str, ...], cache: Path) -> None:
    """Build some or all images, from the cache as far as nothing has changed."""
    with Engine(cache, _say) as engine:
        _guard(lambda: build_all(engine, load_compose(), list(targets)))


@main.command()
@CACHE_OPTION
@click.option("--no-build", is_flag=True, help="Use the images that the last build made.")
@click.option("--keep-logs", type=click.Path(path_type=Path, file_okay=False), help="Copy all logs to this new folder.")
def check(cache: Path, no_build: bool, keep_logs: Path | None) -> None:
    """Build all images, run every service with its real command, and check it.

    Services run in Linux namespaces with the user, mounts, secrets and networks of the compose file, without
    capabilities. Limits of memory and CPU, and seccomp, are not in force. Debian's PostgreSQL and Prometheus stand for
    the official images; Grafana does not run.
    """
    compose = load_compose()
    began = time.monotonic()
    with Engine(cache, _say) as engine, tempfile.TemporaryDirectory(prefix="images-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)

        def run() -> None:
            if not no_build:
                build_all(engine, compose, [])
            with Site(engine, compose, folder, NOT_RUN, _say) as site:
                try:
                    site.up(own_services(compose))
                    for what, holds in CHECKS:
                        holds(site)
                        _say(f"held: {what}")
                finally:
                    if keep_logs:
                        _copy_logs(folder, keep_logs)

        _guard(run)
    _say(f"all {len(CHECKS)} checks held, {time.monotonic() - began:.0f} s")


@main.command()
@CACHE_OPTION
@click.option("--no-build", is_flag=True, help="Use the images that the last build made.")
def boot(cache: Path, no_build: bool) -> None:
    """Boot Debian with the systemd units, as an operator installs them, and check them.

    systemd is process 1 in Linux namespaces of its own. Limits of memory and tasks are not in force there.
    """

    def run() -> None:
        with Engine(cache, _say) as engine:
            if not no_build:
                build_all(engine, load_compose(), ["host", *IMAGES])
            host = Host(engine)
            host.install()
            with host:
                for what, holds in BOOT_CHECKS:
                    holds(host)
                    _say(f"held: {what}")

    _guard(run)
    _say(f"all {len(BOOT_CHECKS)} checks held")


def _copy_logs(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for log in (folder / "services").glob("*/log"):
        (target / f"{log.parent.name}.log").write_bytes(log.read_bytes())


def _stop(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _guard(action: Callable[[], None]) -> None:
    # SIGTERM, too, ends what was started.
    signal.signal(signal.SIGTERM, _stop)
    try:
        action()
    except (RuntimeError, AssertionError) as error:
        # ImageError, SiteError, commands that failed, and conditions that did not become true.
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="script/images")

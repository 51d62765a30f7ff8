"""The commands `rollover start` and `rollover status`."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import click
from rich.progress import Progress, TaskID

from iot_registry.cli.local_administration import LocalAdministration
from iot_registry.cli.opening import opened
from iot_registry.cli.options import ROOT_KEY, settings_options
from iot_registry.local import tsig_keys
from iot_registry.local.config import Settings
from iot_registry.publication.publisher import Publisher
from iot_registry.service import invalidation
from iot_registry.service import rollover as service
from iot_registry.service.invalidation import RolloverStep
from iot_registry.signer import create_signer
from web_service.cli import format_time, json_option, people, print_json, print_table
from web_service.core import Reason, Refused
from web_service.local import utc_now

# Pause before looking again at what another process publishes.
POLL_SECONDS = 0.1
TITLES = {
    RolloverStep.WITHDRAW: "withdrawing the old records",
    RolloverStep.DNSSEC: "new DNSSEC keys",
    RolloverStep.TOKENS: "new enrollment tokens",
    RolloverStep.DONE: "done",
}


@click.group()
def rollover() -> None:
    """Emergency: replace a domain's keys and invalidate all its device certificates at once.

    These commands work on the registry's own machine only. No API key allows a rollover.

    \b
    Example:
      iot-registry rollover start home.example --bundles ./bundles.jsonl
      iot-registry rollover status home.example
    """


@rollover.command("start")
@click.argument("domain")
@click.option(
    "--bundles",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the devices' new enrollment bundles. Default: that of the interrupted rollover, or else a new file "
    "in the state directory.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@ROOT_KEY
@settings_options()
@json_option
def start_command(
    domain: str, bundles: Path | None, yes: bool, root_key: Path | None, settings: Settings, as_json: bool
) -> None:
    """Start a rollover, or resume one that was interrupted.

    Networks refuse every device of DOMAIN until it enrolls again with its new token. To validators, the zone is bogus
    until the printed DS records are in the parent zone.

    \b
    Example:
      iot-registry rollover start home.example --yes --bundles ./bundles.jsonl
    """
    if not yes:
        click.confirm(f"Every device of {domain} must enroll again. Continue?", abort=True, err=True)
    with opened(settings, root_key=root_key) as registry, service.exclusive(settings.state_dir):
        begun = invalidation.begin(
            registry.database, registry.store, registry.settings, registry.principal, domain, bundles, utc_now()
        )
        if begun.resumed:
            people.print("Resuming the rollover that was interrupted.")
        else:
            people.print("There is a new issuing CA. All earlier certificates and tokens are invalid from now on.")
        with Progress(console=people, disable=not sys.stderr.isatty()) as progress:
            _run(registry, begun.number, begun.bundle_files[-1], progress)
        view = _view(registry, domain)
    _print(view, as_json)
    if not as_json:
        people.print(f"New enrollment bundles: {', '.join(view.bundle_files)}")
        if view.ds:
            people.print("DS records for the parent zone. They replace the old ones:")
            for record in view.ds:
                click.echo(record)
        else:
            people.print(
                "No signer is configured: make new DNSSEC keys yourself, and replace the DS records in the parent zone."
            )


def _run(registry: LocalAdministration, number: int, target: Path, progress: Progress) -> None:
    tasks: dict[RolloverStep, TaskID] = {}

    def report(step: RolloverStep, done: int, total: int) -> None:
        if step not in tasks:
            tasks[step] = progress.add_task(TITLES[step], total=max(total, 1))
        progress.update(tasks[step], completed=done if total else 1, total=max(total, 1))

    settings = registry.settings
    # If no server is running, this process publishes. Otherwise it waits for the server to do so.
    publisher = Publisher(registry.database, settings, tsig_keys.load_or_create(settings.tsig_key_file))

    def publish() -> None:
        if not publisher.round_if_leader(utc_now()):
            time.sleep(POLL_SECONDS)

    try:
        service.RolloverRunner(
            registry.database,
            registry.store,
            settings,
            create_signer(settings),
            registry.server_anchor,
            target,
            publish,
            report,
        ).run(number)
    finally:
        publisher.stop()


def _view(registry: LocalAdministration, domain: str) -> service.RolloverProgress:
    with registry.database.read() as session:
        view = service.progress(session, registry.principal, domain)
    if view is None:
        raise Refused(Reason.NOT_FOUND, f"{domain} has had no rollover: `iot-registry rollover start` starts one")
    return view


def _print(view: service.RolloverProgress, as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(view))
        return
    rows = [
        ["next step", TITLES[view.step]],
        ["started", format_time(view.started_at)],
        ["finished", format_time(view.finished_at)],
        ["devices", str(view.devices)],
        ["records to withdraw", str(view.withdrawing)],
        ["new tokens", str(view.tokens)],
        ["enrolled again", str(view.enrolled)],
    ]
    print_table(f"Rollover of {view.domain}", ["", ""], rows)


@rollover.command("status")
@click.argument("domain")
@settings_options()
@json_option
def status_command(domain: str, settings: Settings, as_json: bool) -> None:
    """Show the progress of a domain's last rollover, and how many devices have enrolled again.

    \b
    Example:
      iot-registry rollover status home.example --json
    """
    with opened(settings) as registry:
        _print(_view(registry, domain), as_json)

"""rollover: the emergency command, and how far it is."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import click
from rich.progress import Progress, TaskID

from iot_registry.cli.administration import LocalAdministration
from iot_registry.cli.domains import ROOT_KEY
from iot_registry.cli.output import (
    json_option,
    moment,
    now,
    opened,
    people,
    print_json,
    settings_options,
    table,
)
from iot_registry.config import Settings
from iot_registry.errors import Reason, Refused
from iot_registry.publication import tsig
from iot_registry.publication.publisher import Publisher
from iot_registry.service import invalidation
from iot_registry.service import rollover as service
from iot_registry.service.invalidation import Step
from iot_registry.signer import create_signer

TITLES = {
    Step.WITHDRAW: "old records leave the DNS",
    Step.DNSSEC: "new DNSSEC keys",
    Step.TOKENS: "new enrollment tokens",
    Step.DONE: "done",
}


@click.group()
def rollover() -> None:
    """Emergency: make a domain's keys new and every device certificate invalid, at once.

    On the registry's own machine only: no API key may do this.

    \b
    Example:
      iot-registry rollover start home.example --bundles ./bundles.jsonl
      iot-registry rollover status home.example
    """


@rollover.command()
@click.argument("domain")
@click.option(
    "--bundles",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the devices' new enrollment bundles. Default: in the state directory, or where an interrupted "
    "rollover put them.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@ROOT_KEY
@settings_options
@json_option
def start(
    domain: str, bundles: Path | None, yes: bool, root_key: Path | None, settings: Settings, as_json: bool
) -> None:
    """Roll over, or go on with a rollover that was interrupted.

    Every device of DOMAIN is locked out until it enrolls again with its new token. The zone stays bogus to
    validators until the printed DS records stand in the parent zone.

    \b
    Example:
      iot-registry rollover start home.example --yes --bundles ./bundles.jsonl
    """
    if not yes:
        click.confirm(f"Every device of {domain} must enroll again. Go on?", abort=True, err=True)
    with opened(settings, root_key=root_key) as registry, service.alone(settings.state_dir):
        begun = invalidation.begin(
            registry.database, registry.store, registry.settings, registry.principal, domain, bundles, now()
        )
        if begun.resumed:
            people.print("Going on with the rollover that was interrupted.")
        else:
            people.print(
                "There is a new issuing CA. Every certificate and token of before is worth nothing from now on."
            )
        with Progress(console=people, disable=not sys.stderr.isatty()) as progress:
            _run(registry, begun.number, begun.bundle_files[-1], progress)
        view = _view(registry, domain)
    _print(view, as_json)
    if not as_json:
        people.print(f"New enrollment bundles: {', '.join(view.bundle_files)}")
        if view.ds:
            people.print("DS records for the parent zone, in place of the old ones:")
            for record in view.ds:
                click.echo(record)
        else:
            people.print("No signer is configured: make new DNSSEC keys by hand and replace the parent's DS records.")


def _run(registry: LocalAdministration, number: int, target: Path, progress: Progress) -> None:
    tasks: dict[Step, TaskID] = {}

    def report(step: Step, done: int, total: int) -> None:
        if step not in tasks:
            tasks[step] = progress.add_task(TITLES[step], total=max(total, 1))
        progress.update(tasks[step], completed=done if total else 1, total=max(total, 1))

    settings = registry.settings
    # With no server running, this process publishes; with one, it waits for that one.
    publisher = Publisher(registry.database, settings, tsig.load_or_create(settings.tsig_key_file))

    def publish() -> None:
        if not publisher.round_if_leader(now()):
            time.sleep(0.1)

    try:
        service.Runner(
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


def _view(registry: LocalAdministration, domain: str) -> service.Progress:
    with registry.database.read() as session:
        view = service.progress(session, registry.principal, domain)
    if view is None:
        raise Refused(Reason.NOT_FOUND, f"{domain} has had no rollover")
    return view


def _print(view: service.Progress, as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(view))
        return
    rows = [
        ["next step", TITLES[view.step]],
        ["started", moment(view.started_at)],
        ["finished", moment(view.finished_at)],
        ["devices", str(view.devices)],
        ["waiting for the DNS", str(view.withdrawing)],
        ["tokens made", str(view.tokens)],
        ["enrolled again", str(view.enrolled)],
    ]
    table(f"Rollover of {view.domain}", ["", ""], rows)


@rollover.command("status")
@click.argument("domain")
@settings_options
@json_option
def rollover_status(domain: str, settings: Settings, as_json: bool) -> None:
    """Show how far the last rollover of a domain is, and how many devices have enrolled again.

    \b
    Example:
      iot-registry rollover status home.example --json
    """
    with opened(settings) as registry:
        _print(_view(registry, domain), as_json)

"""device add|list|show|revoke|restore|rehome|export|import, and token."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

import click
from pydantic import ValidationError
from rich.progress import Progress
from sqlalchemy.orm import Session

from iot_registry import names
from iot_registry.cli.output import (
    Registry,
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
from iot_registry.publication.profile import Profile
from iot_registry.service import bundles, devices, imports
from iot_registry.service.authorities import server_anchor
from iot_registry.service.schemas import DeviceCreate, DeviceCreated, DeviceDetail, DeviceView
from iot_registry.store.models import Device, DeviceStatus

WAIT = click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait for the DNS to agree; 0: return at once.",
)


def request(model: type[DeviceCreate], data: dict[str, Any]) -> DeviceCreate:
    """Check command-line values as the API would check a body. Raises Refused."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(Reason.INVALID_FIELD, f"{first['msg']}, found {first['input']!r}", field=field) from None


@click.group()
def device() -> None:
    """Register, find, revoke and move devices.

    \b
    Example:
      iot-registry device add a1b2c3 --type camera
    """


def _created(registry: Registry, session: Session, row: Device, with_token: bool) -> DeviceCreated:
    bundle = expires = None
    if with_token:
        hours = registry.settings.enrollment.token_hours
        token_row, secret = devices.issue_token(session, registry.principal, row, now(), hours)
        expires = token_row.expires_at
        anchor = server_anchor(session, registry.settings)
        bundle = bundles.encode(registry.settings, row.name, row.domain.name, secret, expires, anchor)
    session.flush()
    return DeviceCreated(device=devices.views(session, [row])[0], bundle=bundle, expires=expires)


def _print_created(created: DeviceCreated, as_json: bool) -> None:
    if as_json:
        print_json(created.model_dump(mode="json"))
        return
    people.print(f"{created.device.name}: {created.device.status}")
    if created.bundle:
        people.print(f"Enrollment bundle (one use, until {moment(created.expires)}; shown only now):")
        click.echo(created.bundle)


@device.command("add")
@click.argument("label")
@click.option("--type", "type_", help="Kind of device: the second label of its name (camera, lock, ...).")
@click.option("--domain", help="Identity domain. Default: the registry's first.")
@click.option("--mud-url", help="https URL of the device's MUD file (RFC 8520); goes into the certificate.")
@click.option("--profile", type=click.Choice([p.value for p in Profile]), help="TLSA record. Default: the domain's.")
@click.option("--token/--no-token", default=True, help="Make a one-time enrollment token (default).")
@settings_options
@json_option
def add(
    label: str,
    type_: str | None,
    domain: str | None,
    mud_url: str | None,
    profile: str | None,
    token: bool,
    settings: Settings,
    as_json: bool,
) -> None:
    """Register a device and print its enrollment bundle.

    LABEL is the first label of its name, or the whole name.

    \b
    Example:
      iot-registry device add a1b2c3 --type camera --mud-url https://maker.example/camera.json
      iot-registry device add a1b2c3.camera._device.home.example
    """
    if names.DEVICE_LABEL in label.split("."):
        parsed = names.parse_device(label)
        if type_ not in (None, parsed.type) or domain not in (None, parsed.domain):
            raise click.UsageError("the whole name is given: --type and --domain must agree with it or be left out")
        label, type_, domain = parsed.label, parsed.type, parsed.domain
    if type_ is None:
        raise click.UsageError("--type is needed, unless LABEL is the whole name")
    data = {
        "label": label,
        "type": type_,
        "domain": domain,
        "mud_url": mud_url,
        "profile": profile,
        "token": token,
    }
    wanted = request(DeviceCreate, data)
    with opened(settings) as registry, registry.database.write() as session:
        row = devices.create(session, registry.principal, wanted, registry.settings.default_domain, now())
        created = _created(registry, session, row, token)
    _print_created(created, as_json)


@click.command()
@click.argument("name")
@settings_options
@json_option
def token(name: str, settings: Settings, as_json: bool) -> None:
    """Make a new one-time enrollment token for a device; earlier ones stop working.

    \b
    Example:
      iot-registry token a1b2c3.camera._device.home.example
    """
    with opened(settings) as registry, registry.database.write() as session:
        row = devices.find(session, registry.principal, name, lock=True)
        created = _created(registry, session, row, True)
    _print_created(created, as_json)


@device.command("list")
@click.option("--domain", help="Only this domain.")
@click.option("--status", type=click.Choice([s.value for s in DeviceStatus]), help="Only this status.")
@click.option("--type", "type_", help="Only this type.")
@click.option("--search", "text", help="Only names that hold this text.")
@click.option("--limit", type=click.IntRange(1, devices.MAX_PAGE), default=100, show_default=True)
@click.option("--after", help="Start after this name.")
@settings_options
@json_option
def list_(
    domain: str | None,
    status: str | None,
    type_: str | None,
    text: str | None,
    limit: int,
    after: str | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """List devices by name.

    \b
    Example:
      iot-registry device list --status active --search cam --json
    """
    with opened(settings) as registry, registry.database.read() as session:
        page, following = devices.search(
            session,
            registry.principal,
            domain=domain,
            status=status,
            type_=type_,
            text=text,
            after=after,
            limit=limit,
        )
    if as_json:
        print_json({"devices": [view.model_dump(mode="json") for view in page], "next": following})
        return
    table(
        "Devices",
        ["name", "status", "profile", "records in the DNS"],
        [[v.name, v.status, v.profile, _records(v)] for v in page],
    )
    if following:
        people.print(f"There are more: --after {following}")


def _records(view: DeviceView) -> str:
    text = ", ".join(record[:22] + ("…" if len(record) > 22 else "") for record in view.published) or "-"
    return text + (" (waiting for the DNS)" if view.pending else "")


@device.command()
@click.argument("name")
@settings_options
@json_option
def show(name: str, settings: Settings, as_json: bool) -> None:
    """Show one device and its certificates.

    \b
    Example:
      iot-registry device show a1b2c3.camera._device.home.example
    """
    with opened(settings) as registry, registry.database.read() as session:
        view = devices.detail(session, registry.principal, name, now())
    if as_json:
        print_json(view.model_dump(mode="json"))
        return
    _print_detail(view)


def _print_detail(view: DeviceDetail) -> None:
    rows = [
        ["status", view.status],
        ["domain", view.domain],
        ["MUD URL", view.mud_url or "-"],
        ["profile", view.profile],
        ["created", moment(view.created_at)],
        ["revoked", f"{moment(view.revoked_at)} {view.revoke_reason or ''}".strip()],
        ["formerly", view.rehomed_from or "-"],
        ["open token until", moment(view.token_expires_at)],
        ["in the DNS", "\n".join(view.published) or "-"],
        ["DNS agrees", "not yet" if view.pending else "yes"],
    ]
    table(view.name, ["", ""], rows)
    table(
        "Certificates",
        ["serial", "status", "issued", "not after", "in the DNS since"],
        [
            [c.serial, c.status, moment(c.issued_at), moment(c.not_after), moment(c.published_at)]
            for c in view.certificates
        ],
    )


def _wait_published(registry: Registry, name: str, seconds: float) -> DeviceView:
    """The device once the DNS agrees, or as it is after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        with registry.database.read() as session:
            view = devices.views(session, [devices.find(session, registry.principal, name)])[0]
        if not view.pending or time.monotonic() >= deadline:
            return view
        time.sleep(0.05)


def _print_changed(view: DeviceView, as_json: bool) -> None:
    if as_json:
        print_json(view.model_dump(mode="json"))
    else:
        where = "not in the DNS yet: is `iot-registry serve` running?" if view.pending else "the DNS agrees"
        people.print(f"{view.name}: {view.status}; {where}")


@device.command()
@click.argument("name")
@click.option("--reason", default="", help="For the audit log.")
@WAIT
@settings_options
@json_option
def revoke(name: str, reason: str, wait: float, settings: Settings, as_json: bool) -> None:
    """Take a device's records out of the DNS: no network lets it in any more.

    \b
    Example:
      iot-registry device revoke a1b2c3.camera._device.home.example --reason stolen
    """
    with opened(settings) as registry:
        with registry.database.write() as session:
            devices.revoke(session, registry.principal, name, reason[:200], now())
        view = _wait_published(registry, name, wait)
    _print_changed(view, as_json)


@device.command()
@click.argument("name")
@WAIT
@settings_options
@json_option
def restore(name: str, wait: float, settings: Settings, as_json: bool) -> None:
    """Undo a revocation.

    \b
    Example:
      iot-registry device restore a1b2c3.camera._device.home.example
    """
    with opened(settings) as registry:
        with registry.database.write() as session:
            devices.restore(session, registry.principal, name, now())
        view = _wait_published(registry, name, wait)
    _print_changed(view, as_json)


@device.command()
@click.argument("name")
@click.argument("domain")
@click.option("--immediate", is_flag=True, help="Withdraw the old name now, not once the device has its new one.")
@settings_options
@json_option
def rehome(name: str, domain: str, immediate: bool, settings: Settings, as_json: bool) -> None:
    """Move a device to another domain and print its new enrollment bundle.

    \b
    Example:
      iot-registry device rehome a1b2c3.camera._device.maker.example home.example
    """
    with opened(settings) as registry, registry.database.write() as session:
        row = devices.rehome(session, registry.principal, name, domain, immediate, now())
        created = _created(registry, session, row, True)
    _print_created(created, as_json)


@device.command()
@click.option("--domain", help="Only this domain.")
@settings_options
def export(domain: str | None, settings: Settings) -> None:
    """Print every device with its certificates, one JSON object a line.

    \b
    Example:
      iot-registry device export > devices.jsonl
    """
    with opened(settings) as registry, registry.database.read() as session:
        for entry in devices.export(session, registry.principal, domain, now()):
            click.echo(json.dumps(entry))


@device.command("import")
@click.argument("source", type=click.File("r", encoding="utf-8"))
@click.option("--output", type=click.File("w", encoding="utf-8"), default="-", help="Where the results go.")
@settings_options
def import_(source: TextIO, output: TextIO, settings: Settings) -> None:
    """Register many devices from a CSV (with a header) or JSON-lines file.

    Fields: label, type, and optionally domain, mud_url, profile, csr (a PEM or base64 PKCS #10 request: the
    device gets its certificate now, without a token). One JSON object a line comes out: name and bundle,
    certificate, or error. A line that fails stops nothing; the exit code is 1 if any did. Lines that exist
    already are refused, so an interrupted import is simply run again.

    \b
    Example:
      iot-registry device import factory.csv --output bundles.jsonl
    """
    failed = done = 0
    with opened(settings) as registry:
        entries = list(_entries(source))
        with Progress(console=people, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("importing", total=len(entries))
            for start in range(0, len(entries), imports.BATCH):
                batch = entries[start : start + imports.BATCH]
                for result in imports.run(
                    registry.database, registry.store, registry.settings, registry.principal, batch, now()
                ):
                    failed += "error" in result
                    done += "error" not in result
                    output.write(json.dumps(result) + "\n")
                progress.update(task, advance=len(batch))
    people.print(f"{done} registered, {failed} refused")
    if failed:
        sys.exit(1)


def _entries(source: TextIO) -> Iterator[dict[str, Any]]:
    first = source.readline()
    rest = (line for line in source if line.strip())
    if first.lstrip().startswith("{"):
        for number, line in enumerate([first, *rest], start=1):
            yield {"line": number, **_json_line(line)}
        return
    columns = next(csv.reader([first]), [])
    for number, values in enumerate(csv.reader(rest), start=2):
        cells = dict(zip(columns, values, strict=False))
        yield {"line": number, "data": {key: value for key, value in cells.items() if value != ""}}


def _json_line(line: str) -> dict[str, Any]:
    try:
        return {"data": json.loads(line)}
    except ValueError as error:
        return {"data": None, "error": f"not JSON: {error}"}

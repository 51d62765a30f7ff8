"""device add|list|show|revoke|restore|rehome|export|import, and token."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import click
from rich.progress import Progress

from iot_registry import names
from iot_registry.cli.output import Secret, checked, json_option, moment, out_option, people, print_json, table
from iot_registry.cli.target import Target, target_options
from iot_registry.publication.profile import Profile
from iot_registry.service.devices import MAX_PAGE
from iot_registry.service.schemas import (
    DeviceCreate,
    DeviceCreated,
    DeviceDetail,
    DeviceSearch,
    DeviceView,
    Rehome,
    Revoke,
)
from iot_registry.store.models import DeviceStatus

WAIT = click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait for the DNS to agree; 0: return at once.",
)


@click.group()
def device() -> None:
    """Register, find, revoke and move devices.

    \b
    Example:
      iot-registry device add a1b2c3 --type camera
      iot-registry device list --url https://registry.home.example:8443 --api-key-file ./key --ca-file ./anchor.pem
    """


def _print_created(created: DeviceCreated, as_json: bool, secret: Secret) -> None:
    if as_json:
        print_json(created.model_dump(mode="json"))
        return
    people.print(f"{created.device.name}: {created.device.status}")
    if created.bundle:
        secret.put(created.bundle, f"Enrollment bundle, for one use until {moment(created.expires)}")


@device.command("add")
@click.argument("label")
@click.option("--type", "type_", help="Kind of device: the second label of its name (camera, lock, ...).")
@click.option("--domain", help="Identity domain. Default: the registry's first.")
@click.option("--mud-url", help="https URL of the device's MUD file (RFC 8520); goes into the certificate.")
@click.option("--profile", type=click.Choice([p.value for p in Profile]), help="TLSA record. Default: the domain's.")
@click.option("--token/--no-token", default=True, help="Make a one-time enrollment token (default).")
@out_option
@target_options
@json_option
def add(
    label: str,
    type_: str | None,
    domain: str | None,
    mud_url: str | None,
    profile: str | None,
    token: bool,
    target: Target,
    as_json: bool,
    secret: Secret,
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
    wanted = checked(DeviceCreate, data)
    with target.opened() as registry:
        created = registry.create_device(wanted)
    _print_created(created, as_json, secret)


@click.command()
@click.argument("name")
@out_option
@target_options
@json_option
def token(name: str, target: Target, as_json: bool, secret: Secret) -> None:
    """Make a new one-time enrollment token for a device; earlier ones stop working.

    \b
    Example:
      iot-registry token a1b2c3.camera._device.home.example
    """
    with target.opened() as registry:
        created = registry.new_token(name)
    _print_created(created, as_json, secret)


@device.command("list")
@click.option("--domain", help="Only this domain.")
@click.option("--status", type=click.Choice([s.value for s in DeviceStatus]), help="Only this status.")
@click.option("--type", "type_", help="Only this type.")
@click.option("--search", "text", help="Only names that hold this text.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=100, show_default=True)
@click.option("--after", help="Start after this name.")
@target_options
@json_option
def list_(
    domain: str | None,
    status: str | None,
    type_: str | None,
    text: str | None,
    limit: int,
    after: str | None,
    target: Target,
    as_json: bool,
) -> None:
    """List devices by name.

    \b
    Example:
      iot-registry device list --status active --search cam --json
    """
    data = {"domain": domain, "status": status, "type": type_, "search": text, "after": after, "limit": limit}
    with target.opened() as registry:
        page = registry.list_devices(checked(DeviceSearch, data))
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    table(
        "Devices",
        ["name", "status", "profile", "records in the DNS"],
        [[v.name, v.status, v.profile, _records(v)] for v in page.devices],
    )
    if page.next:
        people.print(f"There are more: --after {page.next}")


def _records(view: DeviceView) -> str:
    text = ", ".join(record[:22] + ("…" if len(record) > 22 else "") for record in view.published) or "-"
    return text + (" (waiting for the DNS)" if view.pending else "")


@device.command()
@click.argument("name")
@target_options
@json_option
def show(name: str, target: Target, as_json: bool) -> None:
    """Show one device and its certificates.

    \b
    Example:
      iot-registry device show a1b2c3.camera._device.home.example
    """
    with target.opened() as registry:
        view = registry.show_device(name)
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
@target_options
@json_option
def revoke(name: str, reason: str, wait: float, target: Target, as_json: bool) -> None:
    """Take a device's records out of the DNS: no network lets it in any more.

    \b
    Example:
      iot-registry device revoke a1b2c3.camera._device.home.example --reason stolen
    """
    wanted = checked(Revoke, {"reason": reason})
    with target.opened() as registry:
        view = registry.revoke_device(name, wanted, wait)
    _print_changed(view, as_json)


@device.command()
@click.argument("name")
@WAIT
@target_options
@json_option
def restore(name: str, wait: float, target: Target, as_json: bool) -> None:
    """Undo a revocation.

    \b
    Example:
      iot-registry device restore a1b2c3.camera._device.home.example
    """
    with target.opened() as registry:
        view = registry.restore_device(name, wait)
    _print_changed(view, as_json)


@device.command()
@click.argument("name")
@click.argument("domain")
@click.option("--immediate", is_flag=True, help="Withdraw the old name now, not once the device has its new one.")
@out_option
@target_options
@json_option
def rehome(name: str, domain: str, immediate: bool, target: Target, as_json: bool, secret: Secret) -> None:
    """Move a device to another domain and print its new enrollment bundle.

    \b
    Example:
      iot-registry device rehome a1b2c3.camera._device.maker.example home.example
    """
    wanted = checked(Rehome, {"domain": domain, "immediate": immediate})
    with target.opened() as registry:
        created = registry.rehome_device(name, wanted)
    _print_created(created, as_json, secret)


@device.command()
@click.option("--domain", help="Only this domain.")
@target_options
def export(domain: str | None, target: Target) -> None:
    """Print every device with its certificates, one JSON object a line.

    \b
    Example:
      iot-registry device export > devices.jsonl
    """
    with target.opened() as registry:
        for entry in registry.export_devices(domain):
            click.echo(json.dumps(entry))


@device.command("import")
@click.argument("source", type=click.File("r", encoding="utf-8"))
@click.option(
    "--output", type=click.File("w", encoding="utf-8"), default="-", help="Where the results go; a file gets mode 0600."
)
@target_options
def import_(source: TextIO, output: TextIO, target: Target) -> None:
    """Register many devices from a CSV (with a header) or JSON-lines file.

    Fields: label, type, and optionally domain, mud_url, profile, csr (a PEM or base64 PKCS #10 request: the
    device gets its certificate now, without a token; not with --url). One JSON object a line comes out: name and
    bundle, certificate, or error. A line that fails stops nothing; the exit code is 1 if any did. Lines that exist
    already are refused, so an interrupted import is simply run again.

    \b
    Example:
      iot-registry device import factory.csv --output bundles.jsonl
    """
    failed = done = 0
    _keep_private(output)
    with target.opened() as registry:
        entries = list(_entries(source))
        with Progress(console=people, disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("importing", total=len(entries))
            for result in registry.import_devices(entries):
                failed += "error" in result
                done += "error" not in result
                output.write(json.dumps(result) + "\n")
                progress.advance(task)
    people.print(f"{done} registered, {failed} refused")
    if failed:
        sys.exit(1)


def _keep_private(output: TextIO) -> None:
    """Let nobody else read a file of bundles; a terminal or a pipe stays as it is."""
    with contextlib.suppress(io.UnsupportedOperation):
        if stat.S_ISREG(os.fstat(output.fileno()).st_mode):
            os.fchmod(output.fileno(), 0o600)


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

"""The commands `device add|list|show|revoke|restore|rehome|export`, and `token`."""

from __future__ import annotations

import json

import click

from iot_registry.cli.import_command import import_command
from iot_registry.cli.target import Target, target_options
from iot_registry.core import names
from iot_registry.core.tlsa import Profile
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
from web_service.cli import SecretOutput, format_time, json_option, out_option, people, print_json, print_table
from web_service.core import validate

WAIT = click.option(
    "--wait",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Wait until the DNS serves the change; 0: do not wait.",
)


@click.group()
def device() -> None:
    """Register, find, revoke and move devices.

    \b
    Example:
      iot-registry device add a1b2c3 --type camera
      iot-registry device list --url https://registry.home.example:8443 --api-key-file ./key --ca-file ./anchor.pem
    """


device.add_command(import_command)


def _print_created(created: DeviceCreated, as_json: bool, secret: SecretOutput) -> None:
    if as_json:
        print_json(created.model_dump(mode="json"))
        return
    people.print(f"{created.device.name}: {created.device.status}")
    if created.bundle:
        secret.write(created.bundle, f"Enrollment bundle, for one use until {format_time(created.expires)}")


@device.command("add")
@click.argument("label")
@click.option("--type", "type_", help="Type of device, such as camera or lock: the second label of its name.")
@click.option("--domain", help="Identity domain. Default: the registry's first.")
@click.option("--mud-url", help="https URL of the device's MUD file (RFC 8520), for its certificate.")
@click.option(
    "--profile",
    type=click.Choice([p.value for p in Profile]),
    help="Parameters of its TLSA records. Default: the domain's.",
)
@click.option("--token/--no-token", default=True, help="Make a one-time enrollment token (default).")
@out_option
@target_options
@json_option
def add_command(
    label: str,
    type_: str | None,
    domain: str | None,
    mud_url: str | None,
    profile: str | None,
    token: bool,
    target: Target,
    as_json: bool,
    secret: SecretOutput,
) -> None:
    """Register a device and print its enrollment bundle.

    LABEL is the first label of its name, or its whole name.

    \b
    Example:
      iot-registry device add a1b2c3 --type camera --mud-url https://maker.example/camera.json
      iot-registry device add a1b2c3.camera._device.home.example
    """
    if names.DEVICE_LABEL in label.split("."):
        parsed = names.parse_device(label)
        if type_ not in (None, parsed.type) or domain not in (None, parsed.domain):
            raise click.UsageError("LABEL is a whole name: leave --type and --domain out, or make them agree with it")
        label, type_, domain = parsed.label, parsed.type, parsed.domain
    if type_ is None:
        raise click.UsageError("--type is needed, unless LABEL is a whole name")
    data = {
        "label": label,
        "type": type_,
        "domain": domain,
        "mud_url": mud_url,
        "profile": profile,
        "token": token,
    }
    wanted = validate(DeviceCreate, data)
    with target.opened() as registry:
        created = registry.create_device(wanted)
    _print_created(created, as_json, secret)


@click.command("token")
@click.argument("name")
@out_option
@target_options
@json_option
def token_command(name: str, target: Target, as_json: bool, secret: SecretOutput) -> None:
    """Make a new one-time enrollment token for a device. Open tokens of it are cancelled.

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
@click.option("--search", "text", help="Only names that contain this text.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=100, show_default=True)
@click.option("--after", help="Start after this name.")
@target_options
@json_option
def list_command(
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
        page = registry.list_devices(validate(DeviceSearch, data))
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    print_table(
        "Devices",
        ["name", "status", "profile", "records in the DNS"],
        [[v.name, v.status, v.profile, _records(v)] for v in page.devices],
    )
    if page.next:
        people.print(f"There are more. For the next page: --after {page.next}")


def _records(view: DeviceView) -> str:
    text = ", ".join(record[:22] + ("…" if len(record) > 22 else "") for record in view.published) or "-"
    return text + (" (not in the DNS yet)" if view.pending else "")


@device.command("show")
@click.argument("name")
@target_options
@json_option
def show_command(name: str, target: Target, as_json: bool) -> None:
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
        ["created", format_time(view.created_at)],
        ["revoked", f"{format_time(view.revoked_at)} {view.revoke_reason or ''}".strip()],
        ["former name", view.rehomed_from or "-"],
        ["open token until", format_time(view.token_expires_at)],
        ["records in the DNS", "\n".join(view.published) or "-"],
        ["change pending", "yes" if view.pending else "no"],
    ]
    print_table(view.name, ["", ""], rows)
    print_table(
        "Certificates",
        ["serial", "status", "issued", "not after", "in the DNS since"],
        [
            [c.serial, c.status, format_time(c.issued_at), format_time(c.not_after), format_time(c.published_at)]
            for c in view.certificates
        ],
    )


def _print_changed(view: DeviceView, as_json: bool) -> None:
    if as_json:
        print_json(view.model_dump(mode="json"))
    else:
        where = "not in the DNS yet: see `iot-registry status`" if view.pending else "the DNS serves it"
        people.print(f"{view.name}: {view.status}; {where}")


@device.command("revoke")
@click.argument("name")
@click.option("--reason", default="", help="Reason, for the audit log.")
@WAIT
@target_options
@json_option
def revoke_command(name: str, reason: str, wait: float, target: Target, as_json: bool) -> None:
    """Revoke a device: withdraw its records. Networks refuse it once their caches drop them.

    \b
    Example:
      iot-registry device revoke a1b2c3.camera._device.home.example --reason stolen
    """
    wanted = validate(Revoke, {"reason": reason})
    with target.opened() as registry:
        view = registry.revoke_device(name, wanted, wait)
    _print_changed(view, as_json)


@device.command("restore")
@click.argument("name")
@WAIT
@target_options
@json_option
def restore_command(name: str, wait: float, target: Target, as_json: bool) -> None:
    """Undo a revocation.

    \b
    Example:
      iot-registry device restore a1b2c3.camera._device.home.example
    """
    with target.opened() as registry:
        view = registry.restore_device(name, wait)
    _print_changed(view, as_json)


@device.command("rehome")
@click.argument("name")
@click.argument("domain")
@click.option("--immediate", is_flag=True, help="Withdraw the old name now, not after the device has enrolled.")
@out_option
@target_options
@json_option
def rehome_command(
    name: str, domain: str, immediate: bool, target: Target, as_json: bool, secret: SecretOutput
) -> None:
    """Move a device to another domain and print its new enrollment bundle.

    \b
    Example:
      iot-registry device rehome a1b2c3.camera._device.maker.example home.example
    """
    wanted = validate(Rehome, {"domain": domain, "immediate": immediate})
    with target.opened() as registry:
        created = registry.rehome_device(name, wanted)
    _print_created(created, as_json, secret)


@device.command("export")
@click.option("--domain", help="Only this domain.")
@target_options
def export_command(domain: str | None, target: Target) -> None:
    """Print every device with its certificates, one JSON object per line.

    \b
    Example:
      iot-registry device export > devices.jsonl
    """
    with target.opened() as registry:
        for entry in registry.export_devices(domain):
            click.echo(json.dumps(entry))

"""`iot-safe-sim enroll`: one device, from its bundle to a certificate whose TLSA record is validated."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import click

from iot_safe_sim.card import Card
from iot_safe_sim.cli.bundle_source import BundleSource
from iot_safe_sim.cli.common import key_store_option, print_json, reported_errors
from iot_safe_sim.cli.dns_report import TLSA_STATE_TEXT, report, tlsa_wait
from iot_safe_sim.cli.fleet import enroll_bundles
from iot_safe_sim.device import Enrollment, EnrollmentResult, TlsaState, dns_name, read_certificate
from iot_safe_sim.keystore import DEFAULT_KEY_STORE
from iot_safe_sim.middleware import IoTSafeClient, MemoryTransport, SerialTransport


@click.command()
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="State directory of the card.")
@click.option("--port", help="Instead of --state: the serial port of a modem with an IoT SAFE card.")
@key_store_option
@click.option("--bundle", help="Enrollment bundle; @FILE reads a file, - standard input.")
@click.option("--registry", help="Base URL of the registry, instead of a bundle.")
@click.option("--token", help="With --registry: the one-time token; @FILE or -.")
@click.option("--name", help="With --registry: the device's DNS name.")
@click.option(
    "--ca", type=click.Path(path_type=Path, exists=True), help="With --registry: PEM that anchors its certificate."
)
@click.option("--domain", help="With --registry: the identity domain. Default: what follows _device in the name.")
@click.option("--force", is_flag=True, help="Enroll again although the current certificate is usable.")
@click.option("--renew", is_flag=True, help="Renew with the current certificate; needs no token.")
@click.option(
    "--within", type=click.IntRange(min=0), help="With --renew: only if the certificate expires within this many days."
)
@click.option("--new-key", is_flag=True, help="With --renew: replace the key as well.")
@click.option(
    "--bundles", type=click.File("r"), help="A fleet: a file with one bundle per line, or a JSON object with it."
)
@click.option("--count", type=click.IntRange(min=1), help="With --bundles: enroll at most this many.")
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="With --bundles: devices at a time."
)
@click.option("--resolver", default="127.0.0.1:53", show_default=True, help="Validating resolver, ADDRESS:PORT.")
@click.option("--no-wait-dns", is_flag=True, help="Do not wait for the TLSA record.")
@click.option(
    "--dns-timeout",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    help="Seconds to wait for the TLSA record.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for a certificate that the registry has accepted to issue.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object; for a fleet, one per line.")
def enroll(
    state: Path | None,
    port: str | None,
    key_store: str | None,
    bundle: str | None,
    registry: str | None,
    token: str | None,
    name: str | None,
    ca: Path | None,
    domain: str | None,
    force: bool,
    renew: bool,
    within: int | None,
    new_key: bool,
    bundles: TextIO | None,
    count: int | None,
    jobs: int,
    resolver: str,
    no_wait_dns: bool,
    dns_timeout: float,
    patience: float,
    as_json: bool,
) -> None:
    """Enroll the device: a key on the card, a certificate from the registry, and its TLSA record in the DNS.

    After an interruption, run it again: it continues. The exit code is 1 also when the certificate was issued, but its
    TLSA record was not published and validated in time.

    \b
    Examples:
      iot-safe-sim enroll --state /var/lib/iot-safe-sim --bundle @bundle
      iot-safe-sim enroll --state /var/lib/iot-safe-sim --renew --within 30
      iot-safe-sim enroll --state fleet --bundles bundles.jsonl --count 1000 --key-store software
    """
    if (state is None) == (port is None):
        raise click.UsageError("give either --state or --port")
    if (within is not None or new_key) and not renew:
        raise click.UsageError("--within and --new-key belong to --renew")
    if (count is not None) and bundles is None:
        raise click.UsageError("--count belongs to --bundles")
    with reported_errors():
        wait = None if no_wait_dns else tlsa_wait(resolver, dns_timeout, quiet=bundles is not None)
        if bundles is not None:
            if state is None or renew or bundle:
                raise click.UsageError("--bundles goes with --state, and without --bundle and --renew")
            enroll_bundles(bundles, count, state, key_store or DEFAULT_KEY_STORE, jobs, wait, as_json)
            return
        source = None if renew else BundleSource(bundle, registry, token, name, ca, domain).read()
        with _card(state, port, key_store) as client:
            # Before any request to the registry, so that a wrong resolver is reported at once.
            device = source.name if source is not None else _enrolled_name(client)
            if wait is not None and device is not None:
                wait = wait.checked(device)
            enrollment = Enrollment(client, wait, progress=report, patience=patience)
            if source is None:
                days = None if within is None else timedelta(days=within)
                result = enrollment.renew(within=days, new_key=new_key)
            else:
                result = enrollment.enroll(source, force=force)
    _finish(result, as_json)


@contextlib.contextmanager
def _card(state: Path | None, port: str | None, key_store: str | None) -> Iterator[IoTSafeClient]:
    if port is not None:
        with SerialTransport(port) as transport:
            yield IoTSafeClient(transport)
    elif state is not None:
        with Card(state, key_store=key_store) as card:
            yield IoTSafeClient(MemoryTransport(card.applet))


def _enrolled_name(client: IoTSafeClient) -> str | None:
    certificate = read_certificate(client)
    return dns_name(certificate) if certificate is not None else None


def _finish(result: EnrollmentResult, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "outcome": result.outcome,
                "name": result.name,
                "not_after": result.not_after.isoformat(),
                "tlsa": result.tlsa,
            }
        )
    else:
        click.echo(f"{result.name}: {result.outcome}, valid until {result.not_after.isoformat()}")
    if result.tlsa not in (None, TlsaState.VOUCHED):
        click.echo(
            f"iot-safe-sim: the DNS does not vouch for {result.name} yet: {TLSA_STATE_TEXT[result.tlsa]}", err=True
        )
        raise SystemExit(1)

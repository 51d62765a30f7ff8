"""`iot-safe-sim enroll`: a device, or a fleet, from its bundle to a certificate that the DNS vouches for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from iot_safe_sim import identity
from iot_safe_sim.bundle import Bundle, BundleError
from iot_safe_sim.card import DEFAULT_KEY_STORE, Card
from iot_safe_sim.cli.common import key_store_option, print_json, reported_errors
from iot_safe_sim.client import IoTSafeClient, MemoryTransport, SerialTransport
from iot_safe_sim.dns_wait import Resolver, ResolverAddressError, TlsaState, TlsaWait, identity_domain
from iot_safe_sim.enrollment import Enrollment, Result
from iot_safe_sim.fleet import DeviceResult, enroll_fleet, read_bundles

_WAITING = {
    TlsaState.VOUCHED: "TLSA record served and validated",
    TlsaState.OTHER_RECORDS: "records are served, none for this certificate yet",
    TlsaState.ABSENT: "no TLSA record yet",
    TlsaState.INSECURE: "the answer is not validated (no AD bit): is the resolver a validating one?",
    TlsaState.BOGUS: "DNSSEC validation fails",
    TlsaState.UNAVAILABLE: "the resolver does not answer",
}


@dataclass(frozen=True)
class _Source:
    """Where the bundle comes from: one of two forms."""

    bundle: str | None
    registry: str | None
    token: str | None
    name: str | None
    ca: Path | None
    domain: str | None

    def read(self) -> Bundle:
        """Raises BundleError, and click.UsageError when it is neither form."""
        parts = (self.registry, self.token, self.name, self.ca)
        if self.bundle is not None and not any(parts):
            return Bundle.parse(_argument(self.bundle))
        if self.bundle is None and self.registry and self.token and self.name and self.ca:
            base, domain = self.registry.rstrip("/"), self.domain or identity_domain(self.name)
            return Bundle.from_parts(
                est=f"{base}/.well-known/est/{domain}",
                provisioning=f"{base}/v1/domains/{domain}/provisioning",
                ca=_read(self.ca),
                name=self.name,
                token=_argument(self.token),
            )
        raise click.UsageError("give either --bundle, or --registry with --token, --name and --ca")


def _argument(value: str) -> str:
    """A value as given, from a file (@FILE), or from standard input (-): secrets need not be in the process list."""
    if value == "-":
        return sys.stdin.read().strip()
    return _read(Path(value[1:])).strip() if value.startswith("@") else value


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: {error}") from error


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
@click.option("--force", is_flag=True, help="Enroll again although the present certificate is good.")
@click.option("--renew", is_flag=True, help="Renew with the present certificate; no token needed.")
@click.option("--within", type=click.IntRange(min=0), help="With --renew: only if it ends within this many days.")
@click.option("--new-key", is_flag=True, help="With --renew: replace the key as well.")
@click.option("--bundles", type=click.File("r"), help="A fleet: a file with one bundle a line (or JSON with one).")
@click.option("--count", type=click.IntRange(min=1), help="With --bundles: enroll at most this many.")
@click.option("--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="With --bundles: at a time.")
@click.option("--resolver", default="127.0.0.1:53", show_default=True, help="Validating resolver, ADDRESS:PORT.")
@click.option("--no-wait-dns", is_flag=True, help="Do not wait for the TLSA record.")
@click.option(
    "--dns-timeout", type=click.FloatRange(min=0), default=120.0, show_default=True, help="Seconds to wait for it."
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to go on asking a registry that has accepted the request and not issued yet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object (a fleet: one a line).")
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
    """Enroll the device: a key on the card, a certificate from the registry, and the DNS vouching for it.

    Run it again after any interruption: it takes up where it was. Exit code 1 also when the certificate is there but
    the DNS does not vouch for it in time.

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
        wait = None if no_wait_dns else _tlsa_wait(resolver, dns_timeout, quiet=bundles is not None)
        if bundles is not None:
            if state is None or renew or bundle:
                raise click.UsageError("--bundles goes with --state, and without --bundle and --renew")
            _fleet(bundles, count, state, key_store or DEFAULT_KEY_STORE, jobs, wait, as_json)
            return
        source = None if renew else _Source(bundle, registry, token, name, ca, domain).read()
        with _card(state, port, key_store) as client:
            # Before anything is asked of the registry: whoever has named the wrong resolver need not wait to learn it.
            device = source.name if source is not None else _enrolled_name(client)
            if wait is not None and device is not None:
                wait = wait.checked(device)
            enrollment = Enrollment(client, wait, progress=_report, patience=patience)
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
    certificate = identity.read_certificate(client)
    return identity.dns_name(certificate) if certificate is not None else None


def _first_name(bundles: list[tuple[int, str]]) -> str | None:
    """The first device of a fleet whose bundle can be read."""
    for _line, text in bundles:
        with contextlib.suppress(BundleError):
            return Bundle.parse(text).name
    return None


def _tlsa_wait(resolver: str, timeout: float, *, quiet: bool) -> TlsaWait:
    def show(state: TlsaState, seconds: float) -> None:
        if state is not TlsaState.VOUCHED and not quiet:
            _report("dns", f"{_WAITING[state]} ({seconds:.0f} of {timeout:.0f} s)")

    def complain(text: str) -> None:
        _report("dns", f"{text}. Not waiting for the record. Name another with --resolver, or use --no-wait-dns")

    try:
        return TlsaWait(Resolver.parse(resolver), timeout, show, complain)
    except ResolverAddressError as error:
        raise click.UsageError(str(error)) from error


def _report(step: str, text: str) -> None:
    click.echo(f"{step:<12} {text}", err=True)


def _finish(result: Result, as_json: bool) -> None:
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
        click.echo(f"iot-safe-sim: the DNS does not vouch for {result.name} yet: {_WAITING[result.tlsa]}", err=True)
        raise SystemExit(1)


def _fleet(
    lines: TextIO, count: int | None, state: Path, key_store: str, jobs: int, wait: TlsaWait | None, as_json: bool
) -> None:
    bundles = list(read_bundles(lines, count))
    first = _first_name(bundles)
    if wait is not None and first is not None:
        wait = wait.checked(first)
    failed = 0
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("enrolling", total=len(bundles))

        def done(result: DeviceResult) -> None:
            nonlocal failed
            failed += result.error is not None
            progress.advance(task)
            if as_json:
                print_json(vars(result))
            elif result.error is not None:
                click.echo(f"line {result.line} {result.name or ''}: {result.error}", err=True)

        enroll_fleet(bundles, state, key_store=key_store, jobs=jobs, tlsa_wait=wait, done=done)
    if not as_json:
        click.echo(f"{len(bundles) - failed} of {len(bundles)} devices enrolled")
    if failed:
        raise SystemExit(1)

"""What `iot-safe-sim enroll` reports of its steps and of the wait for the TLSA record."""

from __future__ import annotations

import click

from iot_safe_sim.device import Resolver, ResolverAddressError, TlsaState, TlsaWait

TLSA_STATE_TEXT = {
    TlsaState.VOUCHED: "TLSA record served and validated",
    TlsaState.OTHER_RECORDS: "records are served, none for this certificate yet",
    TlsaState.ABSENT: "no TLSA record yet",
    TlsaState.INSECURE: "the answer is not validated (no AD bit): is the resolver a validating one?",
    TlsaState.BOGUS: "DNSSEC validation fails",
    TlsaState.UNAVAILABLE: "the resolver does not answer",
}


def report(step: str, text: str) -> None:
    """Show one step on standard error."""
    click.echo(f"{step:<12} {text}", err=True)


def tlsa_wait(resolver: str, timeout: float, *, quiet: bool) -> TlsaWait:
    """The wait for the TLSA record; `quiet` reports no progress. Raises click.UsageError for a wrong address."""

    def show(state: TlsaState, seconds: float) -> None:
        if state is not TlsaState.VOUCHED and not quiet:
            report("dns", f"{TLSA_STATE_TEXT[state]} ({seconds:.0f} of {timeout:.0f} s)")

    def complain(text: str) -> None:
        report("dns", f"{text}. Not waiting for the record. Name another with --resolver, or use --no-wait-dns")

    try:
        return TlsaWait(Resolver.parse(resolver), timeout, show, complain)
    except ResolverAddressError as error:
        raise click.UsageError(str(error)) from error

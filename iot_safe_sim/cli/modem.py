"""`iot-safe-sim modem`: the card behind an AT port."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from iot_safe_sim.card import Card, SignatureFormat
from iot_safe_sim.cli.common import key_store_option, reported_errors, state_option
from iot_safe_sim.modem import LONGEST_SAFE_PATH, Modem, PtyPort, Tracer


@click.command()
@click.option(
    "--pty",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="Path of the serial port. It becomes a symbolic link to the terminal.",
)
@state_option
@key_store_option
@click.option("--trace", is_flag=True, help="Print every command and response, decoded, on standard error.")
@click.option("--echo/--no-echo", default=False, help="Start each client with echo on, as ATE1 does.")
@click.option(
    "--signature-length",
    type=click.Choice([entry.value for entry in SignatureFormat]),
    default=SignatureFormat.BY_AID.value,
    help="Length field of signatures; by-aid: 16-bit for the GSMA AID, 8-bit for Thales' AIDs.",
)
@click.option("--read-only", is_flag=True, help="Refuse administration (STORE DATA).")
def modem(
    path: Path,
    state: Path,
    key_store: str | None,
    trace: bool,
    echo: bool,
    signature_length: str,
    read_only: bool,
) -> None:
    """Serve the card on a pseudo-terminal, as a cellular modem serves its SIM.

    Any client that uses AT+CSIM, or AT+CCHO, AT+CGLA and AT+CCHC, can open it, one after another. Prints "ready PATH"
    once the port can be opened. Ends on SIGTERM or SIGINT.

    \b
    Example:
      iot-safe-sim modem --pty /tmp/sim0 --state /var/lib/iot-safe-sim --trace
    """
    with (
        reported_errors(),
        Card(
            state,
            key_store=key_store,
            signature_format=SignatureFormat(signature_length),
            administration_open=not read_only,
        ) as card,
    ):
        tracer = Tracer()

        def show(command: bytes, response: bytes) -> None:
            click.echo(tracer.describe(command, response, card.applet.last_detail), err=True)

        port = PtyPort(path, Modem(card.applet, echo=echo, observer=show if trace else None))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: port.stop())
        try:
            if len(str(path)) > LONGEST_SAFE_PATH:
                click.echo(
                    f"iot-safe-sim: {path} is longer than {LONGEST_SAFE_PATH} characters: some clients cannot open it",
                    err=True,
                )
            click.echo(f"ready {path}")
            port.serve()
        finally:
            port.close()

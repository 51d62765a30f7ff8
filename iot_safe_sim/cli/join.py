"""`iot-safe-sim join`: join a network with the card's identity."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from types import FrameType

import click

from iot_safe_sim.card import Card, key_store_of
from iot_safe_sim.cli.common import print_json, reported_errors, state_option
from iot_safe_sim.device import Change, JoinError, JoinState, Network, Prepared, Supplicant, prepare

_REFUSALS = (JoinState.REJECTED, JoinState.SERVER_REFUSED, JoinState.KEY_UNAVAILABLE)


class _Stopped(Exception):  # not an error: the user stops the command
    """SIGTERM or SIGINT."""


@click.command()
@state_option
@click.option("--interface", required=True, help="Network interface, for example eth0 or wlan0.")
@click.option("--ssid", help="WiFi network. Without it: Ethernet with IEEE 802.1X.")
@click.option("--radius-name", multiple=True, required=True, help="DNS name in the RADIUS server's certificate.")
@click.option(
    "--radius-ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="PEM file with the CA of the RADIUS server.",
)
@click.option("--tls-1.2", "tls12", is_flag=True, help="Offer TLS 1.2 only.")
@click.option("--print-config", is_flag=True, help="Write the files, print the configuration, and exit.")
@click.option("--once", is_flag=True, help="Exit with the first result: 0 joined, 1 refused or not in time.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    help="Seconds within which the device must have joined.",
)
@click.option("--debug", is_flag=True, help="Make wpa_supplicant log everything to its log file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each change of state.")
def join(
    state: Path,
    interface: str,
    ssid: str | None,
    radius_name: tuple[str, ...],
    radius_ca: Path,
    tls12: bool,
    print_config: bool,
    once: bool,
    timeout: float,
    debug: bool,
    as_json: bool,
) -> None:
    """Join a network with EAP-TLS. The key stays in the token; the RADIUS server's name and CA are verified.

    Runs wpa_supplicant and reports its state until SIGTERM or SIGINT, and then sends an EAPOL-Logoff. Needs the rights
    to use the interface (root).

    \b
    Example:
      iot-safe-sim join --state /var/lib/iot-safe-sim --interface eth0 \\
        --radius-name radius.example.net --radius-ca radius-ca.pem
    """
    network = Network(radius_name, radius_ca.absolute(), ssid, tls13=not tls12)
    with reported_errors():
        if key_store_of(state) is None:
            raise JoinError(f"{state}: there is no card here: enroll the device first")
        # The card is closed before the device joins, because wpa_supplicant opens the token itself.
        with Card(state) as card:
            prepared = prepare(card, state / "join" / interface, network)
        if print_config:
            for name, value in prepared.environment.items():
                click.echo(f"# environment: {name}={value}")
            click.echo(prepared.text, nl=False)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        with (
            contextlib.suppress(_Stopped),
            Supplicant(prepared, interface, "wired" if ssid is None else "nl80211", debug=debug) as supplicant,
        ):
            _follow(supplicant, prepared, once=once, timeout=timeout, as_json=as_json)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stopped


def _follow(supplicant: Supplicant, prepared: Prepared, *, once: bool, timeout: float, as_json: bool) -> None:
    deadline: float | None = time.monotonic() + timeout
    for change in supplicant.changes(0.5):
        if change is None:
            if deadline is not None and time.monotonic() > deadline:
                raise JoinError(f"not joined within {timeout:g} s (wpa_supplicant's log: {prepared.log})")
            continue
        status = supplicant.status() if change.state is JoinState.JOINED else {}
        _show(change, prepared.name, status, as_json=as_json)
        if change.state is JoinState.JOINED:
            deadline = None
            if once:
                return
        elif change.state is JoinState.ENDED:
            raise JoinError(f"wpa_supplicant ended: {change.detail}")
        elif once and change.state in _REFUSALS:
            raise JoinError(f"{change.state}: {change.detail}")


def _show(change: Change, name: str, status: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        document = {"state": change.state, "name": name, "detail": change.detail}
        if status:
            document |= {
                "port": status.get("suppPortStatus", "Authorized"),
                "tls_version": status.get("eap_tls_version", ""),
                "tls_cipher": status.get("EAP TLS cipher", ""),
            }
        print_json(document)
        return
    extra = f" ({status['eap_tls_version']})" if "eap_tls_version" in status else ""
    click.echo(f"{name}: {change.state}{extra}  {change.detail}")

"""`dane-radius`: the decision on the command line, records to publish, installation, and the running module."""

from __future__ import annotations

import click

from dane_radius import __version__
from dane_radius.cli.check import check
from dane_radius.cli.install import install
from dane_radius.cli.running import flush, status
from dane_radius.cli.tlsa import tlsa


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dane-radius")
def main() -> None:
    """DANE authorization for EAP-TLS devices.

    \b
    dane-radius check device.pem --ssid iot     would this device get in, and why?
    dane-radius tlsa device.pem --verify        which records vouch for it, and are they there?
    dane-radius install --raddb /etc/freeradius/3.0
    dane-radius status                          what the running server has in force
    dane-radius flush a1.camera._device.example.net

    Exit codes: 0 done or accepted, 1 refused or failed, 2 wrong usage or a configuration that cannot be used.
    """


for command in (check, tlsa, install, status, flush):
    main.add_command(command)

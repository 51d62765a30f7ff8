"""`dane-radius`: replays decisions, prints TLSA records, installs the module, and controls the running one."""

from __future__ import annotations

import click

from dane_radius import __version__
from dane_radius.cli.check import check
from dane_radius.cli.doctor import doctor
from dane_radius.cli.install import install
from dane_radius.cli.policy import policy
from dane_radius.cli.running import flush, status
from dane_radius.cli.tlsa import tlsa


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dane-radius")
def main() -> None:
    """DANE authorization for EAP-TLS devices.

    \b
    dane-radius check device.pem --ssid iot            decide about a device, and explain the decision
    dane-radius tlsa device.pem --verify               print its TLSA records, and compare them with the DNS
    dane-radius install --raddb /etc/freeradius/3.0    install the module into FreeRADIUS
    dane-radius doctor                                 examine the installation
    dane-radius status                                 show the state of the running module
    dane-radius flush a1.camera._device.example.net    remove cached answers of the running module
    dane-radius policy check                           examine the policy; test, compare and replay policies

    Exit codes: 0 done or accepted, 1 refused or failed, 2 wrong usage or an unusable configuration.
    """


for command in (check, tlsa, install, doctor, status, flush, policy):
    main.add_command(command)

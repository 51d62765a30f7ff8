"""The command `iot-safe-sim` and its subcommands."""

from __future__ import annotations

import click

from iot_safe_sim.cli.common import configure_logging
from iot_safe_sim.cli.enroll import enroll
from iot_safe_sim.cli.join import join
from iot_safe_sim.cli.modem import modem
from iot_safe_sim.cli.status import status


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Log normal events too, not only errors.")
def main(verbose: bool) -> None:
    """A simulated IoT SAFE (e)SIM: the card behind a modem, and a device that enrolls and joins with it.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage.

    \b
    Example:
      iot-safe-sim enroll --state /var/lib/iot-safe-sim --bundle @bundle
      iot-safe-sim join --state /var/lib/iot-safe-sim --interface eth0 \\
        --radius-name radius.example.net --radius-ca radius-ca.pem
    """
    configure_logging(verbose=verbose)


main.add_command(modem)
main.add_command(enroll)
main.add_command(join)
main.add_command(status)

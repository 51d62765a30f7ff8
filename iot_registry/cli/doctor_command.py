"""The command `doctor`: examines the registry of this machine, and says what to do about each problem."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import click

from health_report import has_failed, json_report, print_report
from iot_registry import __version__
from iot_registry.cli.options import source_options
from iot_registry.doctor import Subject, all_findings, gather
from web_service.cli import json_option, print_json
from web_service.local import Endpoint, parse_endpoint

_DNS_PORT = 53


class _Resolver(click.ParamType[Endpoint]):
    """`ADDRESS` or `ADDRESS:PORT`, with an IPv6 address in brackets if there is a port."""

    name = "ADDRESS[:PORT]"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Endpoint:
        text = str(value)
        bare = text.count(":") > 1 and not text.startswith("[")
        has_port = not bare and ":" in text.rpartition("]")[2]
        try:
            endpoint = parse_endpoint(text) if has_port else Endpoint(text.strip("[]"), _DNS_PORT)
            # Not a name: it may be the resolver itself that fails.
            return Endpoint(str(ipaddress.ip_address(endpoint.host)), endpoint.port)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("doctor")
@source_options
@click.option("--resolver", type=_Resolver(), help="A validating resolver, which says whether networks see the zones.")
@click.option("--unit", default="iot-registry.service", show_default=True, help="The systemd unit of the server.")
@click.option("--quiet", is_flag=True, help="Print problems only.")
@json_option
def doctor_command(
    config_file: Path | None,
    state_dir: Path | None,
    database_url: str | None,
    resolver: Endpoint | None,
    unit: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Examine the registry: files, database, CAs, keys, server, name server, and what networks see of the zones.

    The command changes nothing and takes at most 40 seconds. Run it as root or as the registry's user: another user
    cannot see everything, and the findings say what could not be seen.

    \b
    Example:
      iot-registry doctor --config /etc/iot-registry/iot-registry.toml
      iot-registry doctor --resolver 127.0.0.1 --quiet

    Exit codes: 0 no error (warnings are possible), 1 at least one error, 2 wrong usage.
    """
    overrides = {"registry": {"state_dir": state_dir, "database_url": database_url}}
    findings = all_findings(gather(Subject(config_file, overrides, resolver, unit)))
    if as_json:
        print_json(json_report(__version__, findings, quiet=quiet))
    else:
        print_report(findings, quiet=quiet)
    sys.exit(1 if has_failed(findings) else 0)

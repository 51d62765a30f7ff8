"""`dane-radius status` and `dane-radius flush`: query and control the running module over its control socket."""

from __future__ import annotations

import json
from typing import Any

import click

from dane_radius.cli.common import REFUSED, fail, print_json, read_config
from dane_radius.local.control_socket import ControlError, ask


def _socket(option: str | None, config_file: str | None) -> str:
    path = option or read_config(config_file).control_socket
    if path is None:
        fail("the configuration has no control_socket; set one, or name the running module's with --socket")
    return path


def _ask(path: str, op: str, **fields: Any) -> dict[str, Any]:
    try:
        return ask(path, op, **fields)
    except ControlError as error:
        fail(str(error), REFUSED)


_config_option = click.option("--config", "config_file", help="The configuration file. Default: the installed one.")
_socket_option = click.option("--socket", "socket_path", help="The control socket. Default: the configured one.")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_config_option
@_socket_option
@_json_option
def status(config_file: str | None, socket_path: str | None, as_json: bool) -> None:
    """Show the state of the running module: policy, resolver, anchors, standing, cache, lookups, and slow domains.

    \b
    Example:
      dane-radius status --json
    """
    reply = _ask(_socket(socket_path, config_file), "status")
    if as_json:
        print_json(reply)
        return
    for key, value in reply.items():
        if key not in ("ok", "lookups"):
            click.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value)}")
    _show_lookups(reply["lookups"])


def _show_lookups(lookups: dict[str, Any]) -> None:
    click.echo(
        f"lookups: {lookups['under_way']} under way, {lookups['started']} since the start;"
        f" {lookups['waiting']} requests wait for the DNS, {lookups['may_wait']} may"
    )
    if not lookups["slow_domains"]:
        click.echo("slow domains: none")
        return
    click.echo("slow domains (their lookups go unanswered; their devices are refused with dns_unavailable):")
    for domain in lookups["slow_domains"]:
        click.echo(f"  {domain['domain']}: {domain['lookups']} lookups under way, {domain['waiting']} requests wait")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", required=False)
@click.option("--below", is_flag=True, help="Also flush every name below NAME.")
@click.option("--all", "everything", is_flag=True, help="Flush all cached answers.")
@_config_option
@_socket_option
@_json_option
def flush(
    name: str | None,
    below: bool,
    everything: bool,
    config_file: str | None,
    socket_path: str | None,
    as_json: bool,
) -> None:
    """Remove cached TLSA answers, so that the next authentication looks them up again.

    The resolver has its own cache, which this command does not flush. With Unbound, run these two commands before this
    one: `unbound-control flush_type NAME TLSA` and `unbound-control flush NAME`.

    \b
    Example:
      dane-radius flush a1.camera._device.example.net
      dane-radius flush _device.example.net --below
      dane-radius flush --all
    """
    if (name is None) == (not everything):
        raise click.UsageError("give either a NAME or --all")
    path = _socket(socket_path, config_file)
    reply = _ask(path, "flush", name=name, below=below) if name is not None else _ask(path, "flush")
    if as_json:
        print_json(reply)
    else:
        click.echo(f"forgot {reply['flushed']} {'answer' if reply['flushed'] == 1 else 'answers'}")

"""`script/bench`: commands, and how their results are shown."""

from __future__ import annotations

import json
import os
import platform
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from tests.bench import cpu, plots, report
from tests.bench.scenarios import blackhole, floods, peers, policy, refresh, saturation, steady, storms
from tests.bench.stand import Settings

SCENARIOS: dict[str, ModuleType] = {
    "storms": storms,
    "steady": steady,
    "blackhole": blackhole,
    "refresh": refresh,
    "floods": floods,
    "saturation": saturation,
    "peers": peers,
    "policy": policy,
}
_DEFAULT = "cpu"
_CONTEXT = {"help_option_names": ["-h", "--help"]}


class _CpuByDefault(click.Group):
    """Without a command's name, everything is for `cpu`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in _CONTEXT["help_option_names"]):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


@click.group(cls=_CpuByDefault, context_settings=_CONTEXT)
def main() -> None:
    """Measure EAP-TLS with the module against plain EAP-TLS, on this machine, in one run.

    Without a command: cpu.

    \b
    Examples:
      script/bench --rounds 12 --json bench.json
      script/bench storms --json storms.json
      script/bench all --quick
    """
    # A measurement that is ended ends its daemons first, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _say(line: str) -> None:
    click.echo(line, err=True)


def _save(json_file: str | None, figures: dict[str, Any]) -> None:
    if json_file:
        Path(json_file).write_text(json.dumps(figures, indent=1) + "\n")


_json_option = click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True), help="Write the figures here."
)
_tls_option = click.option("--tls", type=click.Choice(["1.2", "1.3"]), default="1.3", show_default=True)
_server_key_option = click.option(
    "--server-key",
    type=click.Choice(["p256", "rsa2048"]),
    default="p256",
    show_default=True,
    help="The key of the RADIUS server's certificate. Debian's own sample has rsa2048.",
)


@main.command(name=_DEFAULT)
@click.option("--rounds", type=click.IntRange(1, 100), default=12, show_default=True, help="Rounds to measure.")
@click.option("--quick", is_flag=True, help="A short form: two rounds.")
@_tls_option
@_server_key_option
@_json_option
def cpu_command(rounds: int, quick: bool, tls: str, server_key: str, json_file: str | None) -> None:
    """What a decision costs the server when it is warm, against EAP-TLS without it and against forking a checker.

    \b
    Example:
      script/bench cpu --rounds 12 --json bench.json
    """
    rounds = 2 if quick else rounds
    figures = cpu.run(rounds, tls, server_key, _say)
    _save(json_file, figures)
    cpu.table(figures, rounds)


def _scenario_options(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--quick", is_flag=True, help="A short form, with fewer and smaller runs."),
        click.option("--rounds", type=click.IntRange(1, 100), help="Rounds, where the scenario has rounds."),
        click.option(
            "--identity",
            type=click.Choice(["anonymous", "name"]),
            default="anonymous",
            show_default=True,
            help="What devices give as EAP identity: anonymous@ZONE, or their DNS name.",
        ),
        click.option(
            "--cold",
            type=click.Choice(["zone", "names"]),
            default="zone",
            show_default=True,
            help="What the resolver has forgotten: all of the zone, its keys included; or the devices' names only.",
        ),
        click.option(
            "--qname-minimisation/--no-qname-minimisation",
            default=False,
            show_default=True,
            help="Unbound's: with it, each new name takes one DNS round trip per label more.",
        ),
        _tls_option,
        _server_key_option,
        _json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {"cores": os.cpu_count(), "kernel": platform.release(), "architecture": platform.machine()}


def _run(names: Sequence[str], json_file: str | None, options: dict[str, Any]) -> None:
    settings = Settings(_say, **options)
    figures: dict[str, Any] = {
        "machine": machine(),
        "settings": {
            name: options[name] for name in ("quick", "identity", "cold", "qname_minimisation", "tls", "server_key")
        },
        "scenarios": {},
    }
    for name in names:
        found = SCENARIOS[name].run(settings)
        figures["scenarios"][name] = found
        # After each one: a later one that fails does not take the others with it.
        _save(json_file, figures)
        click.echo((SCENARIOS[name].__doc__ or "").splitlines()[0])
        click.echo(SCENARIOS[name].text(found))
        click.echo(report.others_text(found["rows"]))
        click.echo(report.bars_text(found["bars"]) + "\n" if found["bars"] else "")


def _add(name: str, module: ModuleType) -> None:
    @_scenario_options
    def command(json_file: str | None, **options: Any) -> None:
        _run([name], json_file, options)

    example = f"\b\nExample:\n  script/bench {name} --json {name}.json"
    main.command(name=name, help=f"{module.__doc__}\n\n{example}")(command)


for _name, _module in SCENARIOS.items():
    _add(_name, _module)


@main.command(name="all")
@_scenario_options
def all_command(json_file: str | None, **options: Any) -> None:
    """Every scenario but `cpu`, one after the other, into one file.

    \b
    Example:
      script/bench all --json results.json
    """
    _run(list(SCENARIOS), json_file, options)


@main.command(name="plots")
@click.option(
    "--from",
    "sources",
    type=click.Path(exists=True, dir_okay=False),
    multiple=True,
    required=True,
    help="What --json wrote. Of several files, the last one that has a scenario counts.",
)
@click.option("--out", type=click.Path(file_okay=False), required=True, help="The folder for the plots.")
def plots_command(sources: tuple[str, ...], out: str) -> None:
    """Plots (SVG) of storms: when the last device was in, and how many were in when.

    \b
    Example:
      script/bench plots --from results.json --out docs/performance/
    """
    found: dict[str, Any] = {}
    for source in sources:
        found |= json.loads(Path(source).read_text()).get("scenarios", {})
    if "storms" not in found:
        raise click.ClickException("there are no storms in these results; run: script/bench storms --json FILE")
    for path in plots.write(found["storms"], Path(out)):
        click.echo(path)

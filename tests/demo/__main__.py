"""`script/demo`: the main job, observed end to end on real daemons."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape

from tests.demo import story, world
from tests.harness.freeradius import SECRET


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True), help="Write every observation here."
)
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, and say how to use it.")
def main(json_file: str | None, keep: bool) -> None:
    """Start Knot, Unbound and FreeRADIUS with the module on loopback, and let real EAP peers try to get in.

    \b
    Example:
      script/demo
      script/demo --json observations.json
      script/demo --keep

    Exit code 0: every observation held.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="dane-demo-", dir="/tmp"))
    folder.chmod(0o755)
    began = time.monotonic()
    running: world.World | None = None
    try:
        console.print("Starting Knot (signs), Unbound (validates) and FreeRADIUS (decides) on loopback …")
        running = world.build(folder)
        console.print(f"Ready after {time.monotonic() - began:.1f} s. Each line is one device that tries to get in.\n")
        observations = story.run(running, lambda observation: _show(console, observation))
        metrics = _interesting(running.radius.metrics())
        console.print("\n[bold]What Prometheus scrapes[/] (samples above zero)")
        for line in metrics:
            console.print("  " + escape(line))
        held = all(observation.held for observation in observations)
        if json_file:
            _write_json(json_file, observations, metrics, held)
        count = sum(observation.held for observation in observations)
        colour = "green" if held else "red"
        console.print(f"\n[bold {colour}]{count} of {len(observations)} observations held[/]")
        if keep:
            _keep(console, running)
        else:
            console.print("\nTry next: script/demo --keep, and README.md for your own server.")
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        sys.exit(1)
    finally:
        if running is not None:
            running.stop()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if held else 1)


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _show(console: Console, observation: story.Observation) -> None:
    mark = "[green]held[/]  " if observation.held else "[red]FAILED[/]"
    colour = "green" if observation.verdict == "accept" else "yellow"
    console.print(
        f"{mark} [bold]{escape(observation.title)}[/]\n"
        f"       [{colour}]{observation.verdict}[/] {observation.reason}  {observation.milliseconds:.0f} ms\n"
        f"       [dim]{escape(observation.evidence)}[/]"
    )
    for problem in observation.problems:
        console.print(f"       [red]{escape(problem)}[/]")


def _interesting(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line.startswith("dane_radius_") and "_bucket" not in line]
    return [line for line in lines if not line.endswith(" 0.0") and "_created" not in line]


def _write_json(path: str, observations: list[story.Observation], metrics: list[str], held: bool) -> None:
    document = {
        "held": held,
        "observations": [observation.to_json() for observation in observations],
        "metrics": metrics,
    }
    Path(path).write_text(json.dumps(document, indent=2) + "\n")


def _keep(console: Console, running: world.World) -> None:
    radius = running.radius
    peer = running.folder / "peers" / "key-record-front"
    program = Path(sys.executable).parent / "dane-radius"
    console.print(
        f"""
Everything keeps running until Ctrl-C. From another terminal:

  a device that gets in:
    eapol_test -c {peer}.conf -a 127.0.0.1 -p {radius.auth_port} -s {SECRET} -M 02:00:00:00:99:01 \\
      -N30:s:02-00-00-00-00-01:iot | tail -n 1
  why is a device refused (or not)?
    {program} check {peer}.pem --ssid iot --config {radius.config_file}
  its records, compared with the DNS:
    {program} tlsa {peer}.pem --verify --config {radius.config_file}
  decisions as they are made:
    tail -f {radius.decision_log}
  the policy (changes count within two seconds):
    {radius.policy_file}
  metrics:
    curl -s http://127.0.0.1:{radius.metrics_port}/metrics | grep ^dane_radius_
""",
        markup=False,
    )
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


if __name__ == "__main__":
    main()

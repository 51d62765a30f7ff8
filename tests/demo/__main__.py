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

from tests.demo import network_story, network_world, story
from tests.demo import world as decisions_world
from tests.harness.freeradius import SECRET


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True), help="Write every observation here."
)
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, and say how to use it.")
@click.option(
    "--part",
    type=click.Choice(["all", "network", "decisions"]),
    default="all",
    show_default=True,
    help="The story of a device on two networks (about a minute), the table of decisions (ten seconds), or both.",
)
def main(json_file: str | None, keep: bool, part: str) -> None:
    """Let real devices join real networks by their DNS names, and show which are admitted, and why.

    First a story: a registry gives a device its name; the device joins a house and an office by 802.1X (hostapd,
    wpa_supplicant and FreeRADIUS in network namespaces), and is revoked, handed on, and locked out by an emergency.
    Then a table: certificates and DNS answers of every kind, and the decision about each.

    \b
    Example:
      script/demo
      script/demo --part decisions --json observations.json
      script/demo --part network --keep

    Exit code 0: every observation held.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(highlight=False, soft_wrap=True)
    folder = Path(tempfile.mkdtemp(prefix="dane-demo-", dir="/tmp"))
    folder.chmod(0o755)
    document: dict[str, Any] = {"held": True}
    notes: list[str] = []
    try:
        with contextlib.ExitStack() as stack:
            if part != "decisions":
                notes.append(_network(console, folder / "network", stack, document))
            if part != "network":
                notes.append(_decisions(console, folder / "decisions", stack, document))
            if json_file:
                Path(json_file).write_text(json.dumps(document, indent=2) + "\n")
            if keep:
                console.print("\nEverything keeps running until Ctrl-C. From another terminal:\n")
                console.print("\n".join(notes), markup=False)
                with contextlib.suppress(KeyboardInterrupt):
                    signal.pause()
            else:
                console.print("\nTry next: script/demo --keep, and README.md for your own server.")
    except KeyboardInterrupt:
        console.print("\ninterrupted")
        sys.exit(1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if document["held"] else 1)


def _network(console: Console, folder: Path, stack: contextlib.ExitStack, document: dict[str, Any]) -> str:
    """Tell the story; returns how to use what still runs."""
    folder.mkdir()
    folder.chmod(0o755)
    began = time.monotonic()
    console.print("[bold]One device, two networks[/]\n")
    world = stack.enter_context(network_world.build(folder, lambda what: console.print(f"Starting {what} …")))
    console.print(f"Ready after {time.monotonic() - began:.1f} s. Nothing is simulated but the SIM and the radio.\n")
    observations = network_story.run(world, lambda observation: _show(console, observation))
    document["network"] = [observation.to_json() for observation in observations]
    _sum_up(console, observations, document)
    return _network_notes(world)


def _decisions(console: Console, folder: Path, stack: contextlib.ExitStack, document: dict[str, Any]) -> str:
    """Show the table; returns how to use what still runs."""
    folder.mkdir()
    folder.chmod(0o755)
    began = time.monotonic()
    console.print("\n[bold]Who gets in, and why[/]\n")
    console.print("Starting Knot (signs), Unbound (validates) and FreeRADIUS (decides) on loopback …")
    running = decisions_world.build(folder)
    stack.callback(running.stop)
    console.print(f"Ready after {time.monotonic() - began:.1f} s. Each line is one device that tries to get in.\n")
    observations = story.run(running, lambda observation: _show(console, observation))
    metrics = _interesting(running.radius.metrics())
    console.print("\n[bold]What Prometheus scrapes[/] (samples above zero)")
    for line in metrics:
        console.print("  " + escape(line))
    document["observations"] = [observation.to_json() for observation in observations]
    document["metrics"] = metrics
    _sum_up(console, observations, document)
    return _decisions_notes(running)


def _sum_up(console: Console, observations: list[story.Observation], document: dict[str, Any]) -> None:
    count = sum(observation.held for observation in observations)
    held = count == len(observations)
    document["held"] = document["held"] and held
    console.print(f"\n[bold {'green' if held else 'red'}]{count} of {len(observations)} observations held[/]")


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


def _decisions_notes(running: decisions_world.World) -> str:
    radius = running.radius
    peer = running.folder / "peers" / "key-record-front"
    program = Path(sys.executable).parent / "dane-radius"
    return f"""\
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
"""


def _network_notes(running: network_world.NetworkWorld) -> str:
    programs = Path(sys.executable).parent
    house, office = running.house, running.office
    return f"""\
  the registry's devices:
    {programs}/iot-registry device list --config {running.registry.config}
  end the camera's session at the house, from the registry:
    {programs}/iot-registry device revoke {network_story.NEW_NAME} --config {running.registry.config}
  what happens at the switch's port:
    tail -f {house.switch.folder}/actions.log
  who was let in, and why (house, office):
    tail -n 3 {house.radius.decision_log}
    tail -n 3 {office.radius.decision_log}
  trust anchors, live sessions and failures (house, office):
    {programs}/trust-sync status --config {house.sync.config}
    {programs}/trust-sync status --config {office.sync.config}
  inside the camera:
    ip netns exec {running.camera.namespace} ping -c 1 10.130.0.1
  Prometheus:
    http://127.0.0.1:{running.prometheus.port}/
"""


if __name__ == "__main__":
    main()

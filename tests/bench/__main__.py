"""`script/bench`: what the decision costs the RADIUS server, as ratios from one run on this machine.

Three servers side by side, measured in turns (A B C A B C ...), so that a machine whose speed drifts drifts for all of
them: plain EAP-TLS, EAP-TLS with the module, and EAP-TLS with a program that is started for every certificate and does
the same check. The figure is CPU time (user and system) of the server's process tree per authentication.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.harness.eap import authenticate, next_station, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.unbound import Unbound

POLICY = """\
version: 1
rules:
  - name: cameras
    identity: ["*.camera._device.iot.example"]
    grant: {vlan: 42, session_timeout: 8h}
"""
PEERS = 6
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Arm:
    """One server, and what its rounds cost. `milliseconds`: CPU per authentication, one figure a round."""

    name: str
    title: str
    server: FreeRadius
    authentications: int
    milliseconds: list[float] = field(default_factory=list)
    done: int = 0

    def tree_cpu(self) -> float:
        """CPU seconds of the server's threads and of all its ended children."""
        assert self.server.daemon is not None
        process = Path(f"/proc/{self.server.daemon.pid}")
        # The kernel's own account of each thread in nanoseconds; children are known to a tick (10 ms) only.
        threads = sum(int(path.read_text().split()[0]) for path in process.glob("task/*/schedstat")) / 1e9
        fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
        return threads + sum(int(value) for value in fields[13:15]) / _TICKS


def plain(server: FreeRadius) -> None:
    """EAP-TLS as FreeRADIUS does it alone: any certificate of a known CA."""
    server.prepare()
    for name in ("mods-enabled/dane", "sites-enabled/dane-check"):
        (server.raddb / name).unlink()
    _edit(
        server.raddb / "mods-available/dane_eap",
        ("virtual_server = dane-check", ""),
        ("enable = yes", "enable = no"),
        ('persist_dir = "', '#persist_dir = "'),
    )
    _edit(
        server.raddb / "sites-available/dane",
        ("\t\t\t\t\tdane {\n", "\t\t\t\t\tok {\n"),
        ("\t\t\t\tdane_seen\n", "\t\t\t\tok\n"),
        ("\t\tdane_seen\n", ""),
    )


def with_access(server: FreeRadius) -> None:
    """Plain EAP-TLS that answers with the same access as the module does, the same for every device."""
    plain(server)
    _edit(
        server.raddb / "sites-available/dane",
        (
            "\t\t\t&Reply-Message !* ANY\n\t\t}\n\n\t\t#\n\t\t#  Once the handshake",
            "\t\t\t&Reply-Message !* ANY\n\t\t\t&User-Name := &User-Name\n\t\t\t&Session-Timeout := 720\n"
            "\t\t\t&Termination-Action := RADIUS-Request\n\t\t\t&Class := 0x72756c653d63616d65726173\n"
            "\t\t\t&Tunnel-Type:0 := VLAN\n\t\t\t&Tunnel-Medium-Type:0 := IEEE-802\n"
            "\t\t\t&Tunnel-Private-Group-Id:0 := 42\n\t\t}\n\n\t\t#\n\t\t#  Once the handshake",
        ),
    )


def forking(server: FreeRadius, resolver_port: int) -> None:
    """Plain EAP-TLS with a program for every certificate."""
    plain(server)
    folder = server.folder / "tmp"
    folder.mkdir()
    shutil.chown(folder, "freerad", "freerad")
    folder.chmod(0o700)
    script = server.folder / "check.py"
    shutil.copy(Path(__file__).with_name("forking_check.py"), script)
    libraries = (server.python_path or "").split(":")[0]
    wrapper = server.folder / "check"
    wrapper.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={libraries} PYTHONDONTWRITEBYTECODE=1\n"
        f'exec /usr/bin/python3 {script} "$1" {resolver_port}\n'
    )
    wrapper.chmod(0o755)
    _edit(
        server.raddb / "mods-available/dane_eap",
        (
            "check_crl = no",
            f"check_crl = no\n\t\tverify {{\n\t\t\ttmpdir = {folder}\n"
            f'\t\t\tclient = "{wrapper} %{{TLS-Client-Cert-Filename}}"\n\t\t}}\n',
        ),
    )


def _edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        if old not in text:
            raise RuntimeError(f"{path} does not hold {old!r}")
        text = text.replace(old, new)
    path.write_text(text)


def measure(arm: Arm, config: Path) -> None:
    """One round: so many full handshakes from several peers at once."""
    each = max(1, arm.authentications // PEERS)
    before = arm.tree_cpu()

    def peer(_: int) -> int:
        result = authenticate(arm.server, config, station=next_station(), repeat=each - 1, timeout=300)
        if not result.accepted:
            raise RuntimeError(f"{arm.name}: an authentication failed:\n{arm.server.daemon.log_tail()}")  # type: ignore[union-attr]
        return each

    with ThreadPoolExecutor(PEERS) as pool:
        count = sum(pool.map(peer, range(PEERS)))
    arm.milliseconds.append(1000 * (arm.tree_cpu() - before) / count)
    arm.done += count


def import_milliseconds() -> float:
    """What importing the module takes a fresh interpreter beyond starting one (the median of five)."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return 1000 * statistics.median(run("import dane_radius.rlm") - run("pass") for _ in range(5))


def resident_megabytes(server: FreeRadius) -> float:
    assert server.daemon is not None
    status = Path(f"/proc/{server.daemon.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def run(rounds: int, tls: str, server_key: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The whole measurement."""
    key = rsa.generate_private_key(65537, 2048) if server_key == "rsa2048" else None
    folder = Path(tempfile.mkdtemp(prefix="dane-bench-"))
    folder.chmod(0o755)
    ca = authority("Bench CA")
    name = "bench.camera._device.iot.example"
    device = ca.issue(name)
    arms: list[Arm] = []
    try:
        with Knot(
            folder / "knot", [Zone("iot.example", f"bench.camera._device 3600 TLSA {device.tlsa()}", ttl=3600)]
        ) as knot:
            anchors = knot.trust_anchors("iot.example")
            with Unbound(folder / "unbound", {"iot.example": ("127.0.0.1", knot.port)}, anchors) as unbound:
                try:
                    for name_of_arm, title, size in (
                        ("plain", "plain EAP-TLS", 240),
                        ("access", "plain EAP-TLS that grants the same access", 240),
                        ("module", "EAP-TLS with the module, warm cache", 240),
                        ("forking", "EAP-TLS with a program per certificate", 120),
                    ):
                        # As Debian ships it, and as an operator runs it.
                        server = FreeRadius(
                            folder / name_of_arm,
                            unbound.port,
                            POLICY,
                            [ca],
                            log_interval=0.5,
                            log_every_login=False,
                            server_key=key,
                        )
                        if name_of_arm == "plain":
                            plain(server)
                        elif name_of_arm == "access":
                            with_access(server)
                        elif name_of_arm == "forking":
                            forking(server, unbound.port)
                        server.start()
                        arms.append(Arm(name_of_arm, title, server, size))
                    for arm in arms:
                        config = _config(arm, device, tls)
                        measure(arm, config)
                        arm.milliseconds.clear()
                        arm.done = 0
                    for number in range(rounds):
                        for arm in arms:
                            measure(arm, _config(arm, device, tls))
                            say(f"round {number + 1} of {rounds}: {arm.title}: {arm.milliseconds[-1]:.2f} ms")
                    memory = {arm.name: resident_megabytes(arm.server) for arm in arms}
                finally:
                    for arm in arms:
                        arm.server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    base = arms[0].milliseconds
    return {
        "tls": tls,
        "server_key": server_key,
        "arms": {
            arm.name: {
                "title": arm.title,
                "authentications": arm.done,
                "cpu_milliseconds": arm.milliseconds,
                "ratio_to_plain": [a / b for a, b in zip(arm.milliseconds, base, strict=True)],
                "median_ratio": statistics.median(a / b for a, b in zip(arm.milliseconds, base, strict=True)),
                "resident_megabytes": memory[arm.name],
            }
            for arm in arms
        },
        "import_milliseconds": import_milliseconds(),
    }


def _config(arm: Arm, device: Any, tls: str) -> Path:
    return write_peer_config(
        arm.server.folder / "peers",
        device,
        identity="anonymous@iot.example",
        server_ca=arm.server.server_ca_file,
        tls=tls,
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True, help="Rounds to measure.")
@click.option("--tls", type=click.Choice(["1.2", "1.3"]), default="1.3", show_default=True)
@click.option(
    "--server-key",
    type=click.Choice(["p256", "rsa2048"]),
    default="p256",
    show_default=True,
    help="The key of the RADIUS server's certificate. Debian's own sample has rsa2048.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True), help="Write the figures here.")
def main(rounds: int, tls: str, server_key: str, json_file: str | None) -> None:
    """Measure what a decision costs the server, against EAP-TLS without it and against forking a checker.

    \b
    Example:
      script/bench --rounds 5 --json bench.json
    """
    figures = run(rounds, tls, server_key, lambda text: click.echo(text, err=True))
    if json_file:
        Path(json_file).write_text(json.dumps(figures, indent=2) + "\n")
    click.echo(f"server CPU per authentication, TLS {tls}, server key {server_key}")
    click.echo(f"ratios are medians of {rounds} interleaved rounds")
    for arm in figures["arms"].values():
        low, high = min(arm["ratio_to_plain"]), max(arm["ratio_to_plain"])
        click.echo(
            f"  {arm['title']:<42} x {arm['median_ratio']:.2f}  ({low:.2f} to {high:.2f})"
            f"  median {statistics.median(arm['cpu_milliseconds']):.2f} ms  {arm['resident_megabytes']:.0f} MB"
        )
    click.echo(f"  importing the module: {figures['import_milliseconds']:.0f} ms, once, when the server starts")


if __name__ == "__main__":
    main()

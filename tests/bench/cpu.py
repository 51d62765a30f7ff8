"""`script/bench cpu`: what the decision costs the RADIUS server, as ratios from one run on this machine.

Servers side by side, measured in turns (A B C A B C ...), so that a machine whose speed drifts drifts for all of them.
The figure is CPU time (user and system) of the server's process tree per authentication. The peers are eapol_test.

Every round starts servers anew: two processes of the same server differ by several percent for as long as they live.
Every handshake is a full one, of a station that was there before (the cache is warm), and offers no old session.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.bench.arms import Arm, bare, forking, plain, resident_megabytes
from tests.bench.devices import policy
from tests.harness.eap import authenticate, write_peer_config
from tests.harness.freeradius import FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.unbound import Unbound

PEERS = 6
_ZONE = "iot.example"


def measure(arm: Arm, config: Path, *, warm_up: bool = False) -> None:
    """One round: so many full handshakes from several peers at once. The warm-up does not count."""
    each = max(1, arm.authentications // PEERS // (4 if warm_up else 1))
    before = arm.tree_cpu()

    def peer(number: int) -> int:
        station = f"02:00:00:00:00:{number:02x}"
        result = authenticate(arm.server, config, station=station, repeat=each - 1, timeout=300)
        if not result.accepted:
            raise RuntimeError(f"{arm.name}: an authentication failed:\n{arm.server.daemon.log_tail()}")  # type: ignore[union-attr]
        return each

    with ThreadPoolExecutor(PEERS) as pool:
        count = sum(pool.map(peer, range(PEERS)))
    if not warm_up:
        arm.milliseconds.append(1000 * (arm.tree_cpu() - before) / count)
        arm.done += count


def import_milliseconds() -> float:
    """What importing the module takes a fresh interpreter beyond starting one (the median of five)."""

    def run(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - began

    return 1000 * statistics.median(run("import dane_radius.server.rlm") - run("pass") for _ in range(5))


def run(rounds: int, tls: str, server_key: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The whole measurement."""
    key = rsa.generate_private_key(65537, 2048) if server_key == "rsa2048" else None
    folder = Path(tempfile.mkdtemp(prefix="dane-bench-"))
    folder.chmod(0o755)
    ca = authority("Bench CA")
    device = ca.issue("bench.camera._device.iot.example")
    arms = [
        Arm("plain", "plain EAP-TLS, Debian's own site", 240, plain),
        Arm("bare", "this package's sites without the module", 240, bare),
        Arm("module", "EAP-TLS with the module, warm cache", 240, FreeRadius.prepare),
        Arm("forking", "EAP-TLS with a program per certificate", 60, forking),
    ]
    try:
        zone = Zone("iot.example", f"bench.camera._device 3600 TLSA {device.tlsa()}", ttl=3600)
        with Knot(folder / "knot", [zone]) as knot:
            anchors = knot.trust_anchors("iot.example")
            with Unbound(folder / "unbound", {"iot.example": ("127.0.0.1", knot.port)}, anchors) as unbound:
                for number in range(rounds):
                    # As Debian ships it, and as an operator runs it.
                    servers = [
                        FreeRadius(
                            folder / f"{arm.name}-{number}",
                            unbound.port,
                            policy([_ZONE]),
                            [ca],
                            log_interval=0.5,
                            log_every_login=False,
                            server_key=key,
                        )
                        for arm in arms
                    ]
                    try:
                        for arm, server in zip(arms, servers, strict=True):
                            arm.set_up(server)
                            arm.server = server.start()
                            measure(arm, _config(arm, device, tls), warm_up=True)
                        for arm in arms:
                            measure(arm, _config(arm, device, tls))
                            arm.megabytes = resident_megabytes(arm.server)
                            say(f"round {number + 1} of {rounds}: {arm.title}: {arm.milliseconds[-1]:.2f} ms")
                    finally:
                        for server in servers:
                            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    plain_cost, bare_cost = arms[0].milliseconds, arms[1].milliseconds
    return {
        "tls": tls,
        "server_key": server_key,
        "arms": {
            arm.name: {
                "title": arm.title,
                "authentications": arm.done,
                "cpu_milliseconds": arm.milliseconds,
                "ratio_to_plain": _ratios(arm.milliseconds, plain_cost),
                "ratio_to_bare": _ratios(arm.milliseconds, bare_cost),
                "resident_megabytes": arm.megabytes,
            }
            for arm in arms
        },
        "import_milliseconds": import_milliseconds(),
    }


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def _config(arm: Arm, device: Any, tls: str) -> Path:
    path = write_peer_config(
        arm.server.folder / "peers",
        device,
        identity="anonymous@iot.example",
        server_ca=arm.server.server_ca_file,
        tls=tls,
    )
    path.write_text("fast_reauth=0\n" + path.read_text())
    return path


def table(figures: dict[str, Any], rounds: int) -> None:
    """Print what `run` measured."""
    click.echo(f"server CPU per authentication, TLS {figures['tls']}, server key {figures['server_key']}")
    click.echo(f"medians of {rounds} interleaved rounds; lowest and highest; ratio to the sites without the module")
    for arm in figures["arms"].values():
        low, high = min(arm["ratio_to_plain"]), max(arm["ratio_to_plain"])
        click.echo(
            f"  {arm['title']:<40} x {statistics.median(arm['ratio_to_plain']):.2f}  ({low:.2f} to {high:.2f})"
            f"  x {statistics.median(arm['ratio_to_bare']):.2f}"
            f"  {statistics.median(arm['cpu_milliseconds']):.2f} ms  {arm['resident_megabytes']:.0f} MB"
        )
    click.echo(f"  importing the module: {figures['import_milliseconds']:.0f} ms, once, when the server starts")

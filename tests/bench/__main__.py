"""`script/bench`: what the decision costs the RADIUS server, as ratios from one run on this machine.

Servers side by side, measured in turns (A B C A B C ...), so that a machine whose speed drifts drifts for all of them:
plain EAP-TLS as Debian ships it, which an operator had before; this package's sites without the module, which is less
than plain; EAP-TLS with the module; and EAP-TLS with a program that is started for every certificate and does the same
check. The figure is CPU time (user and system) of the server's process tree per authentication.

Every round starts servers anew: two processes of the same server differ by several percent for as long as they live.
Every handshake is a full one, of a station that was there before (the cache is warm), and offers no old session.
"""

from __future__ import annotations

import json
import os
import re
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

from tests.harness.eap import authenticate, write_peer_config
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
    """One kind of server, and what its rounds cost. `milliseconds`: CPU per authentication, one figure a round."""

    name: str
    title: str
    authentications: int
    set_up: Callable[[FreeRadius], None]
    server: FreeRadius = field(init=False)
    milliseconds: list[float] = field(default_factory=list)
    done: int = 0
    megabytes: float = 0.0

    def tree_cpu(self) -> float:
        """CPU seconds of the server's threads and of all its ended children."""
        assert self.server.daemon is not None
        process = Path(f"/proc/{self.server.daemon.pid}")
        # The kernel's own account of each thread in nanoseconds; children are known to a tick (10 ms) only.
        threads = sum(int(path.read_text().split()[0]) for path in process.glob("task/*/schedstat")) / 1e9
        fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
        return threads + sum(int(value) for value in fields[13:15]) / _TICKS


def plain(server: FreeRadius) -> None:
    """EAP-TLS as Debian ships it: its "default" site and its "eap" module, given certificates, CA and TLS 1.3."""
    server.prepare()
    for name in ("mods-enabled/dane", "mods-enabled/dane_eap", "mods-enabled/dane_seen"):
        (server.raddb / name).unlink()
    for name in ("sites-enabled/dane", "sites-enabled/dane-check"):
        (server.raddb / name).unlink()
    site = server.raddb / "sites-enabled/default"
    if not site.exists():
        site.symlink_to("../sites-available/default")
    ports = iter([server.auth_port, server.acct_port] * 2)
    site.write_text(re.sub(r"\bport = 0$", lambda _: f"port = {next(ports)}", site.read_text(), flags=re.MULTILINE))
    eap = server.raddb / "mods-enabled/eap"
    if not eap.exists():
        eap.symlink_to("../mods-available/eap")
    text = eap.read_text()
    for key, value in (
        ("default_eap_type", "tls"),
        ("private_key_file", str(server.folder / "pki/server.key")),
        ("certificate_file", str(server.folder / "pki/server.pem")),
        ("ca_path", str(server.anchor_dir / "ca")),
        ("tls_max_version", '"1.3"'),
    ):
        text, count = re.subn(rf"^(\s*){key} = .*$", rf"\g<1>{key} = {value}", text, count=1, flags=re.MULTILINE)
        if not count:
            raise RuntimeError(f"{eap} has no {key}")
    # The bundle of every CA on the Web, whose names it would send to each device.
    eap.write_text(re.sub(r"^\s*(ca_file|private_key_password) = .*$", "", text, flags=re.MULTILINE))


def bare(server: FreeRadius) -> None:
    """This package's sites with nothing but EAP-TLS left in them: any certificate of a known CA."""
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
        ("\t\tif (&session-state:Tmp-Integer-0) {\n\t\t\tdane_seen\n\t\t}\n", ""),
    )


def forking(server: FreeRadius) -> None:
    """EAP-TLS with a program for every certificate."""
    bare(server)
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
        f'exec /usr/bin/python3 {script} "$1" {server.resolver_port}\n'
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
                            POLICY,
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


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", type=click.IntRange(1, 100), default=12, show_default=True, help="Rounds to measure.")
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
      script/bench --rounds 12 --json bench.json
    """
    figures = run(rounds, tls, server_key, lambda text: click.echo(text, err=True))
    if json_file:
        Path(json_file).write_text(json.dumps(figures, indent=2) + "\n")
    click.echo(f"server CPU per authentication, TLS {tls}, server key {server_key}")
    click.echo(f"medians of {rounds} interleaved rounds; lowest and highest; ratio to the sites without the module")
    for arm in figures["arms"].values():
        low, high = min(arm["ratio_to_plain"]), max(arm["ratio_to_plain"])
        click.echo(
            f"  {arm['title']:<40} x {statistics.median(arm['ratio_to_plain']):.2f}  ({low:.2f} to {high:.2f})"
            f"  x {statistics.median(arm['ratio_to_bare']):.2f}"
            f"  {statistics.median(arm['cpu_milliseconds']):.2f} ms  {arm['resident_megabytes']:.0f} MB"
        )
    click.echo(f"  importing the module: {figures['import_milliseconds']:.0f} ms, once, when the server starts")


if __name__ == "__main__":
    main()

"""A real server for the tests of `dane-radius doctor`, and what the command says about it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.freeradius import SERVER_NAME, FreeRadius
from tests.harness.knot import Knot, Zone
from tests.harness.pki import authority
from tests.harness.unbound import Unbound
from tests.harness.zones import tampered_zone

PROGRAM = Path(sys.executable).with_name("dane-radius")
ZONE, BROKEN = "iot.example", "broken.example"
GOOD_NAME, BAD_NAME = f"keep.camera._device.{ZONE}", f"keep.{BROKEN}"
POLICY = f"""\
version: 1
rules:
  - name: cameras
    identity: ["*.camera._device.{ZONE}"]
    grant: {{vlan: 42}}
"""
# The command promises 40 seconds. The tests' machines may be slow.
DEADLINE_SECONDS = 90


@dataclass
class Examined:
    """What the command said."""

    code: int
    findings: list[dict[str, Any]]

    def of(self, check: str, severity: str) -> list[dict[str, Any]]:
        return [f for f in self.findings if f["id"] == check and f["severity"] == severity]

    @property
    def errors(self) -> list[str]:
        return sorted({f["id"] for f in self.findings if f["severity"] == "error"})


@dataclass
class Place:
    """A running server with its DNS, and a way to examine it."""

    knot: Knot
    unbound: Unbound
    radius: FreeRadius

    def command(self, *options: str | Path) -> list[str | Path]:
        names = ["--good-name", GOOD_NAME, "--bad-name", BAD_NAME, "--server-name", SERVER_NAME]
        return [PROGRAM, "doctor", "--raddb", self.radius.raddb, *names, *options]

    def examine(self, *options: str | Path) -> Examined:
        done = subprocess.run(
            self.command("--json", *options), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(done.stdout)
        examined = Examined(done.returncode, report["findings"])
        assert report["ok"] is (done.returncode == 0) is (not examined.errors)
        for finding in examined.findings:
            if finding["severity"] in ("warning", "error"):
                assert finding["expected"]
                assert finding["fix"]
        return examined


@contextlib.contextmanager
def running_place() -> Iterator[Place]:
    """A healthy installation with a good and a broken zone."""
    folder = Path(tempfile.mkdtemp(prefix="dane-doctor-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        text, anchor = tampered_zone(folder / "signing", BROKEN, f"keep TLSA 3 1 1 {'00' * 32}")
        zones = [
            Zone(ZONE, f"keep.camera._device TLSA 3 1 1 {'00' * 32}"),
            Zone(BROKEN, signed=False, verbatim=text),
        ]
        knot = stack.enter_context(Knot(folder / "knot", zones))
        stubs = {zone.name: ("127.0.0.1", knot.port) for zone in zones}
        unbound = stack.enter_context(Unbound(folder / "unbound", stubs, knot.trust_anchors(ZONE) + anchor))
        radius = FreeRadius(folder / "radius", unbound.port, POLICY, [authority("CA of devices")])
        yield Place(knot, unbound, stack.enter_context(radius))


@contextlib.contextmanager
def changed(path: Path, old: str, new: str) -> Iterator[None]:
    """A text file with one change, for as long as the context lasts."""
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    try:
        yield
    finally:
        path.write_text(before)

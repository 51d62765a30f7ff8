"""The systemd units that are shipped, judged by systemd's own tools."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.deploy import REPOSITORY

UNITS = sorted((REPOSITORY / "containers" / "systemd").glob("*.service"))


def test_all_of_them_are_here() -> None:
    assert {unit.name for unit in UNITS} == {"iot-registry.service", "trust-sync.service"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_well_formed_and_tight(tmp_path: Path, unit: Path) -> None:
    copy = tmp_path / unit.name
    installed = re.search(r"^ExecStart=(\S+)", unit.read_text(), re.MULTILINE)
    assert installed is not None
    copy.write_text(unit.read_text().replace(installed[1], sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
    assert unit.name not in verified.stderr
    # The tool would have said so.
    copy.write_text(copy.read_text().replace("ProtectSystem=", "ProtectSytem="))
    misspelt = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert unit.name in misspelt.stderr
    copy.write_text(copy.read_text().replace("ProtectSytem=", "ProtectSystem="))
    # Exposure in tenths; 10.0 is none of it, and what is left is the network, which it is there for.
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=12", "--no-pager", str(copy)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert rated.returncode == 0, rated.stdout[-200:]
    assert "Overall exposure level" in rated.stdout

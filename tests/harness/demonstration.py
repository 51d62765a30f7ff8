"""`script/demo` as a program, and its report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.harness.deploy import REPOSITORY


def demonstrate(part: str, report: Path, *, timeout: float) -> dict[str, Any]:
    """Run one part of the demonstration into `report`, and return that. Raises AssertionError when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo", "--part", part, "--json", str(report)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(report.read_text())
    assert document["held"] is True
    return document

"""A modem process on a real pseudo-terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.process import Daemon, start


@pytest.fixture
def start_modem(tmp_path: Path) -> Iterator[Callable[..., tuple[Daemon, str]]]:
    """A function that starts `iot-safe-sim modem` and gives the process and the port's path."""
    running: list[Daemon] = []

    def begin(state: Path, *options: str) -> tuple[Daemon, str]:
        path, log = tmp_path / f"sim{len(running)}", tmp_path / f"modem{len(running)}.log"
        command = [sys.executable, "-m", "iot_safe_sim.cli", "modem", "--pty", str(path), "--state", str(state)]
        daemon = start(
            "modem",
            [*command, *options],
            log=log,
            ready=lambda: f"ready {path}" in log.read_text(),
        )
        running.append(daemon)
        return daemon, str(path)

    yield begin
    for daemon in running:
        daemon.stop()

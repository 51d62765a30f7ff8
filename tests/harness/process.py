"""Start a daemon, wait until it answers, end it, and show its log when it does not start. Wait for anything else."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class DaemonError(RuntimeError):
    """A daemon did not start, or ended by itself. The message carries the end of its log."""


@dataclass
class Daemon:
    """One running process, its log, and how to end it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    _ended: bool = field(default=False, repr=False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.running:
            self.process.send_signal(number)

    def stop(self, grace: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds. Safe to call twice."""
        if self._ended:
            return
        self._ended = True
        self.signal(signal.SIGTERM)
        # A stopped process (SIGSTOP in an outage test) takes its SIGTERM only after SIGCONT.
        self.signal(signal.SIGCONT)
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)

    def kill(self) -> None:
        """SIGKILL at once: what a crash looks like."""
        self._ended = True
        self.process.kill()
        self.process.wait(5)

    def log_tail(self, lines: int = 30) -> str:
        return tail(self.log, lines)

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def tail(path: Path, lines: int = 30) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def start(
    name: str,
    argv: Sequence[str | os.PathLike[str]],
    *,
    log: Path,
    ready: Callable[[], bool],
    timeout: float = 20.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Daemon:
    """Start `argv` with its output in `log` and return when `ready()` holds.

    Raises DaemonError when the process ends first or `timeout` seconds pass.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [os.fspath(a) for a in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}, **(env or {})},
            cwd=cwd,
        )
    daemon = Daemon(name, process, log)
    deadline = time.monotonic() + timeout
    while True:
        if not daemon.running:
            raise DaemonError(f"{name} ended with code {process.returncode}:\n{daemon.log_tail()}")
        if ready():
            return daemon
        if time.monotonic() > deadline:
            daemon.stop()
            raise DaemonError(f"{name} was not ready within {timeout:.0f} s:\n{daemon.log_tail()}")
        time.sleep(0.02)


def wait_for(condition: Callable[[], object], what: str, timeout: float = 10.0, interval: float = 0.02) -> None:
    """Poll until `condition()` is true; raise AssertionError naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:.0f} s for {what}")
        time.sleep(interval)


async def wait_for_async(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """As `wait_for`, while the event loop goes on."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for {what}")
        await asyncio.sleep(0.02)


# Below the range from which the kernel gives ports to clients (32768 to 60999): a client of another test could take
# such a port between this choice and the daemon's start.
_PORTS = range(10_000, 32_000)
_handed_out: set[int] = set()


def free_port(address: str = "127.0.0.1") -> int:
    """A port that is free for UDP and TCP on `address` now, and that this process has not chosen before."""
    while True:
        port = random.choice(_PORTS)
        if port in _handed_out:
            continue
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            try:
                tcp.bind((address, port))
                udp.bind((address, port))
            except OSError:
                continue
        _handed_out.add(port)
        return port


def run(argv: Sequence[str | os.PathLike[str]], *, timeout: float = 60.0, stdin: str | None = None) -> str:
    """Run a command to its end and return its output; raise with that output if it fails."""
    done = subprocess.run(
        [os.fspath(a) for a in argv],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} failed with code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout

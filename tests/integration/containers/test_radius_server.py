"""radius-server of the images: the decision log's files stay small, and the container's log has every line."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from dane_radius.local import LogFile
from tests.integration.containers.engine import DOCKERFILE
from trust_sync.reports.log_tail import LogTail

PROGRAM = DOCKERFILE.with_name("radius-server")
_LIMIT = 10_000
# What the module does: whole lines, and a look at the path now and then.
_WRITER = """
import sys, time
from dane_radius.local import LogFile
file = LogFile(sys.argv[1])
for number in range(600):
    file.write_line(f"{number:04d} " + "x" * 44)
    time.sleep(0.01)
    if number % 20 == 19:
        file.reopen_if_moved()
sys.exit(7)
"""


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    """radius-server with a command of Python in the place of the RADIUS server."""
    settings = {"DECISION_LOG": str(folder / "log"), "DECISION_LOG_OCTETS": str(_LIMIT), "DECISION_LOG_FILES": "2"}
    return subprocess.Popen(
        [sys.executable, PROGRAM, sys.executable, "-c", *command],
        env=os.environ | settings, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("radius_server", str(PROGRAM))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_every_line_is_copied_once_and_the_exit_code_passed_on(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of an earlier container\n")
    with start(tmp_path, _WRITER, str(tmp_path / "log")) as server:
        assert server.stdout is not None
        lines = server.stdout.read().splitlines()
    assert [line.split()[0] for line in lines] == [f"{number:04d}" for number in range(600)]
    assert server.returncode == 7
    # The control: there was a rotation.
    assert (tmp_path / "log.1").exists()


def test_signals_reach_the_server(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import signal, sys
        seen = []
        signal.signal(signal.SIGHUP, lambda *_: print("reload", flush=True))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        print("ready", flush=True)
        while True:
            signal.pause()
    """)
    with start(tmp_path, script) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        server.send_signal(signal.SIGHUP)
        assert server.stdout.readline() == "reload\n"
        server.terminate()
        assert server.wait(20) == 5


def test_a_server_that_was_killed_is_told(tmp_path: Path) -> None:
    with start(tmp_path, "import os; os.kill(os.getpid(), 9)") as server:
        assert server.wait(20) == 128 + 9


def test_the_server_goes_on_when_nobody_reads_the_log(tmp_path: Path) -> None:
    with start(tmp_path, _WRITER, str(tmp_path / "log")) as server:
        assert server.stdout is not None
        server.stdout.close()
        assert server.wait(60) == 7


def test_no_more_files_are_kept_than_asked_for(tmp_path: Path, program: ModuleType) -> None:
    path = tmp_path / "log"
    log = program.DecisionLog(str(path), 100, 2)
    read, write = os.pipe()
    module = LogFile(str(path))
    written = []
    for number in range(8):
        line = f"{number} " + "x" * 100
        module.write_line(line)
        written.append(line)
        log.copy(write)
        log.rotate()
        # The module notices later: this line is still in the old file.
        module.write_line(f"late {number}")
        written.append(f"late {number}")
        module.reopen_if_moved()
        log.copy(write, settle=0)
    log.close()
    os.close(write)
    with os.fdopen(read) as output:
        assert output.read().splitlines() == written
    assert {found.name for found in tmp_path.iterdir()} == {"log", "log.1", "log.2"}
    assert (tmp_path / "log.1").read_text().startswith("7 ")


def test_trust_sync_reads_every_decision_over_rotations(tmp_path: Path, program: ModuleType) -> None:
    path = tmp_path / "log"
    log = program.DecisionLog(str(path), 100, 2)
    tail = LogTail(path, settle=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    module = LogFile(str(path))
    found: list[bytes] = []
    # From the first file on.
    assert tail.read(1000, 1_000_000) is None
    for number in range(6):
        module.write_line(f'{{"number":{number},"event":"decision"}}{" " * 100}')
        log.copy(nowhere)
        log.rotate()
        module.write_line(f'{{"late":{number},"event":"decision"}}')
        module.reopen_if_moved()
        log.copy(nowhere, settle=0)
        while batch := tail.read(1000, 1_000_000):
            found += batch.decisions
            tail.take(batch)
    log.close()
    tail.close()
    os.close(nowhere)
    assert len(found) == 12
    assert [line[:9] for line in found[-2:]] == [b'{"number"', b'{"late":5']
    assert tail.gaps == 0
    assert (tmp_path / "log.2").exists()


def test_a_file_is_rotated_only_when_the_one_before_is_copied(tmp_path: Path, program: ModuleType) -> None:
    path = tmp_path / "log"
    path.write_text("x" * 99 + "\n")
    log = program.DecisionLog(str(path), 100, 2)
    log.rotate()
    path.write_text("y" * 99 + "\n")
    log.rotate()
    assert not (tmp_path / "log.2").exists()
    read, write = os.pipe()
    log.copy(write, settle=0)
    assert os.read(read, 1000) == path.read_bytes()
    log.rotate()
    assert (tmp_path / "log.2").exists()
    log.close()
    os.close(read)
    os.close(write)


def test_a_line_without_an_end_waits_for_it(tmp_path: Path, program: ModuleType) -> None:
    path = tmp_path / "log"
    log = program.DecisionLog(str(path), 100, 2)
    read, write = os.pipe()
    os.set_blocking(read, False)
    log.copy(write)
    path.write_text("first\nsec")
    log.copy(write)
    assert os.read(read, 1000) == b"first\n"
    with path.open("a") as file:
        file.write("ond\n")
    log.copy(write)
    assert os.read(read, 1000) == b"second\n"
    log.close()
    os.close(read)
    os.close(write)

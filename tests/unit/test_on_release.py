"""`script/test --on RELEASE` refuses what it cannot do before it changes anything. Needs no root and no network."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TEST = Path(__file__).parents[2] / "script" / "test"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
    return subprocess.run([TEST, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--on", "sid"], "unknown Debian release 'sid'; known: bookworm (Debian 12), trixie (Debian 13)"),
        (["--on", ""], "unknown Debian release ''"),
        (["--on", "../trixie"], "unknown Debian release '../trixie'"),
        (["--on"], "--on needs a Debian release"),
        (["--on", "trixie", "third-party"], "third-party needs the Internet"),
        (["--on", "trixie", "--on", "trixie"], "--on is there twice"),
        (["--on", "trixie", "unity"], "unknown part 'unity'"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_has_an_example(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    assert "script/test --on trixie integration -k install" in done.stdout

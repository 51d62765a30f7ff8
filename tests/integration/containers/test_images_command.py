"""`script/images` where it fails: what it says, and with which exit code. Its success needs minutes: run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.deploy import REPOSITORY
from tests.integration.containers.engine import Engine, ImageError


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.containers", *words],
        capture_output=True, text=True, timeout=60, cwd=REPOSITORY,
    )  # fmt: skip


def test_help_names_the_commands_and_exit_codes() -> None:
    done = command("--help")
    assert done.returncode == 0
    for word in ("script/images check", "script/images boot", "Exit codes: 0 done, 1 failed, 2 wrong usage."):
        assert word in done.stdout
    subprocess.run(["bash", "-n", REPOSITORY / "script" / "images"], check=True)


def test_wrong_usage_is_told_apart_from_failure() -> None:
    assert command("--no-such-option").returncode == 2
    assert command("no-such-command").returncode == 2


def test_a_failed_build_names_its_log_and_shows_the_end(tmp_path: Path) -> None:
    engine = Engine(tmp_path, lambda line: None)
    script = "for i in $(seq 100); do echo line-$i; done; echo 'the reason' >&2; exit 3"
    with pytest.raises(ImageError) as caught:
        engine._run("sh", "-c", script)
    text = str(caught.value)
    assert "failed with code 3" in text
    assert text.endswith("line-100\nthe reason\n".rstrip())
    assert "line-1\n" not in text
    assert str(engine.log) in text
    assert "line-1\n" in engine.log.read_text()


def test_settings_of_pip_are_passed_on_with_the_folders_that_they_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.integration.containers.engine import _pip_settings

    index = tmp_path / "index" / "simple"
    index.mkdir(parents=True)
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nextra-index-url = file://{index}\nfind-links = {tmp_path}/missing\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    settings, folders = _pip_settings()
    assert settings.startswith("[global]\n")
    assert f"file://{index}" in settings
    assert str(index.parent) in folders
    assert f"{tmp_path}/missing" not in folders

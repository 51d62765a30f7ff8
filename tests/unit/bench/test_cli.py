"""`script/bench`: which command is meant, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.bench import cli, cpu
from tests.unit.bench.test_plots import ROWS


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the CPU measurement was asked for, in place of the minutes that it takes."""
    calls: list[tuple[Any, ...]] = []

    def run(rounds: int, tls: str, server_key: str, _say: object) -> dict[str, Any]:
        calls.append((rounds, tls, server_key))
        return {"tls": tls, "server_key": server_key, "arms": {}, "import_milliseconds": 0.0}

    monkeypatch.setattr(cpu, "run", run)
    return calls


@pytest.mark.parametrize("command", [[], ["cpu"]])
def test_cpu_is_what_is_measured_without_a_command(
    measured: list[tuple[Any, ...]], command: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "bench.json"
    found = CliRunner().invoke(cli.main, [*command, "--rounds", "3", "--json", str(file), "--server-key", "rsa2048"])
    assert found.exit_code == 0, found.output
    assert measured == [(3, "1.3", "rsa2048")]
    assert json.loads(file.read_text())["server_key"] == "rsa2048"


@pytest.mark.parametrize("command", ["cpu", "all", "plots", *cli.SCENARIOS])
def test_every_command_has_help_with_an_example(command: str) -> None:
    found = CliRunner().invoke(cli.main, [command, "--help"])
    assert found.exit_code == 0
    assert f"script/bench {command} " in found.output
    assert "--json" in found.output or command == "plots"


@pytest.mark.parametrize("arguments", [["tempests"], ["storms", "--rounds", "0"], ["--rounds", "many"]])
def test_a_mistake_is_a_usage_error(measured: list[tuple[Any, ...]], arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.main, arguments).exit_code == 2
    assert measured == []


def test_plots_come_from_the_last_file_that_has_storms(tmp_path: Path) -> None:
    for name, scenarios in (("a", {"storms": {"rows": ROWS}}), ("b", {"steady": {"rows": []}})):
        (tmp_path / name).write_text(json.dumps({"scenarios": scenarios}))
    arguments = ["plots", "--from", str(tmp_path / "a"), "--from", str(tmp_path / "b"), "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(cli.main, arguments)
    assert found.exit_code == 0, found.output
    assert len(list((tmp_path / "out").glob("*.svg"))) == 2


def test_plots_without_storms_say_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "b").write_text(json.dumps({"scenarios": {}}))
    found = CliRunner().invoke(cli.main, ["plots", "--from", str(tmp_path / "b"), "--out", str(tmp_path)])
    assert found.exit_code == 1
    assert "script/bench storms" in found.output

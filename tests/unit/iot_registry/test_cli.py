"""The command line: exit codes, refusals in one line, JSON output, files that are not overwritten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import structlog
from click.testing import CliRunner, Result

from iot_registry.cli import main


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state"
    structlog.reset_defaults()


def run(state: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--state-dir", str(state)])


def test_every_command_has_help_with_an_example() -> None:
    seen = 0
    pending: list[tuple[list[str], click.Command]] = [([], main)]
    while pending:
        path, command = pending.pop()
        if isinstance(command, click.Group):
            pending += [([*path, name], sub) for name, sub in command.commands.items()]
        result = CliRunner().invoke(main, [*path, "--help"])
        assert result.exit_code == 0
        assert "Example:" in result.output, path
        seen += 1
    assert seen >= 20


def test_init_twice_changes_nothing(state: Path) -> None:
    first = json.loads(run(state, "init", "--json", "--domain", "a.example").stdout)
    second = json.loads(run(state, "init", "--json").stdout)
    assert (first["created"], second["created"]) == (True, False)
    assert first["root_ca"] == second["root_ca"]
    assert state.stat().st_mode & 0o777 == 0o700
    assert [d["name"] for d in json.loads(run(state, "domain", "list", "--json").stdout)["domains"]] == ["a.example"]
    # Without a domain, the first one is used.
    created = json.loads(run(state, "device", "add", "x", "--type", "t", "--json").stdout)
    assert created["device"]["name"] == "x.t._device.a.example"


def test_the_bundle_alone_goes_to_standard_output(state: Path) -> None:
    run(state, "init")
    result = run(state, "device", "add", "x.t._device.home.example")
    assert result.exit_code == 0
    assert result.stdout.startswith("iotreg1.")
    assert len(result.stdout.splitlines()) == 1
    assert "shown only now" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["device", "show", "x.t._device.home.example"], 1, "refused, not-found: no device x.t._device.home.example"),
        (["device", "add", "*", "--type", "t"], 1, "refused, invalid-name"),
        (["device", "add", "x"], 2, "--type is needed"),
        (["device", "add", "x", "--type", "t", "--mud-url", "ftp://x"], 1, "https URL"),
        (["device", "add", "x", "--type", "t", "--profile", "1 1 1"], 2, "--profile"),
        (["device", "rehome", "x.t._device.home.example", "b.example"], 1, "refused, not-found"),
        (["domain", "add", "localhost"], 1, "refused, invalid-name"),
        (["key", "add", "k", "--scope", "root"], 2, "--scope"),
        (["key", "revoke", "zzz"], 1, "refused, not-found"),
        (["rollover", "status", "home.example"], 1, "has had no rollover"),
        (["rollover", "start", "b.example", "--yes"], 1, "refused, not-found"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_refusals_are_one_line_and_an_exit_code(state: Path, arguments: list[str], code: int, message: str) -> None:
    run(state, "init")
    result = run(state, *arguments)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert "Traceback" not in result.stderr


def test_a_registry_that_is_not_there_or_is_open_to_others_is_refused(state: Path) -> None:
    missing = run(state, "device", "list")
    assert (missing.exit_code, "iot-registry init" in missing.stderr) == (1, True)
    run(state, "init")
    state.chmod(0o755)
    opened = run(state, "device", "list")
    assert (opened.exit_code, "mode is 0755, expected 0700 or 0750" in opened.stderr) == (1, True)


def test_a_name_servers_configuration_is_not_overwritten(state: Path, tmp_path: Path) -> None:
    run(state, "init")
    output = tmp_path / "dns"
    assert run(state, "dns-config", "--output", str(output)).exit_code == 0
    main_file, zone = output / "knot.conf", output / "zones" / "home.example.zone"
    assert main_file.stat().st_mode & 0o777 == 0o640
    for path in (main_file, zone):
        path.write_text("mine\n")
    kept = run(state, "dns-config", "--output", str(output))
    assert (kept.exit_code, "kept" in kept.stderr, main_file.read_text()) == (0, True, "mine\n")
    assert run(state, "dns-config", "--output", str(output), "--force").exit_code == 0
    assert main_file.read_text() != "mine\n"
    assert zone.read_text() == "mine\n"


def test_an_import_reports_each_line_and_goes_on(state: Path, tmp_path: Path) -> None:
    run(state, "init")
    source, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text(
        "label,type,mud_url,color\na,t,,\n*,t,,\nb,t,http://x,\nc,t,,red\nd,t,https://x.example/m,\na,t,,\n"
    )
    result = run(state, "device", "import", str(source), "--output", str(output))
    assert result.exit_code == 1
    assert "2 registered, 4 refused" in result.stderr
    # The file holds tokens.
    assert output.stat().st_mode & 0o777 == 0o600
    assert "iotreg1." in output.read_text()
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert [line.get("name") or line["error"]["reason"] for line in lines] == [
        "a.t._device.home.example",
        "invalid-name",
        "invalid-field",
        "unknown-field",
        "d.t._device.home.example",
        "conflict",
    ]
    # A repetition registers nothing twice.
    again = run(state, "device", "import", str(source), "--output", str(output))
    assert "0 registered, 6 refused" in again.stderr
    exported = [json.loads(line) for line in run(state, "device", "export").stdout.splitlines()]
    assert [device["name"][0] for device in exported] == ["a", "d"]


def test_the_roots_key_goes_offline_and_comes_back_for_a_domain(state: Path, tmp_path: Path) -> None:
    offline = tmp_path / "usb" / "root.key"
    assert run(state, "init", "--root-key-out", str(offline)).exit_code == 0
    refused = run(state, "domain", "add", "b.example")
    assert (refused.exit_code, "needs the root's key" in refused.stderr) == (1, True)
    assert run(state, "domain", "add", "b.example", "--root-key", str(offline)).exit_code == 0
    wrong = next((state / "ca").glob("*.key"))
    refused = run(state, "domain", "add", "c.example", "--root-key", str(wrong))
    assert (refused.exit_code, "not the key of root CA" in refused.stderr) == (1, True)

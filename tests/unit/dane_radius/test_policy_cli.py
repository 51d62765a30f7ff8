"""`dane-radius policy`: what operators and CI see of each command."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from dane_radius.cli import main
from policy.analysis import CODES, EXAMPLES
from tests.unit.policy.decision_logs import line, write_log

POLICY = """\
version: 2
networks:
  house: {ssid: [iot]}
zones:
  things: {description: Things of the house, vlan: 30}
  isolated: {vlan: 666}
standing: {quarantined: {zone: isolated}}
rules:
  - {name: lighting, identity: ["*.light._device.city.example"], networks: [house], require: no_ca, zone: things}
  - {name: everything-else, default: true, refuse: true}
tests:
  - {name: a lamp, device: a1.light._device.city.example, network: house, expect: {zone: things}}
  - {name: "a <stranger>", device: x.example.org, network: house, expect: refuse}
"""
NAME = "a1.light._device.city.example"
VERSION_1 = 'version: 1  # one\nrules:\n  - {name: a, identity: ["*.x.e.net"], grant: {vlan: 7}}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)], catch_exceptions=False)


def run_json(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


# --- check


def test_check_of_a_good_policy(file: Path) -> None:
    result = run("check", file, "--strict", "--dictionary", "none")
    assert (result.exit_code, result.stdout) == (0, f"{file}: nothing found\n")


def test_check_names_file_line_code_and_what_to_do(file: Path) -> None:
    file.write_text(POLICY.replace("zones:\n", "zones:\n  unused: {vlan: 9}\n"))
    result = run("check", file, "--dictionary", "none")
    assert result.exit_code == 0
    assert f"{file}:5: warning: zones.unused: " in result.stdout
    assert "[zone-unused]\n    remove it" in result.stdout
    assert result.stdout.endswith("1 warning\n")
    assert run("check", file, "--dictionary", "none", "--strict").exit_code == 1
    assert run("check", file, "--dictionary", "none", "--strict", "--ignore", "zone-unused").exit_code == 0


def test_check_as_json(file: Path) -> None:
    file.write_text(POLICY.replace("zones:\n", "zones:\n  unused: {vlan: 9}\n"))
    found = run_json("check", file, "--dictionary", "none", "--strict")
    assert (found["ok"], found["counts"]) == (False, {"error": 0, "warning": 1, "note": 0})
    assert found["findings"][0]["code"] == "zone-unused"
    assert found["findings"][0]["line"] == 5


def test_check_of_a_policy_that_does_not_load(file: Path) -> None:
    file.write_text(POLICY.replace("vlan: 30", "vlan: 5000").replace("require: no_ca", "require: much"))
    result = run("check", file)
    assert result.exit_code == 1
    assert f"{file}:5: error: zones.things.vlan: " in result.stdout
    assert f"{file}:9: error: " in result.stdout
    assert "2 errors" in result.stdout
    assert {each["code"] for each in run_json("check", file)["findings"]} == {"invalid"}


def test_check_with_a_dictionary(file: Path, tmp_path: Path) -> None:
    dictionary = tmp_path / "dictionary"
    dictionary.write_text("ATTRIBUTE Right 70 string\n")
    file.write_text(POLICY.replace("vlan: 666", "vlan: 666, attributes: {Right: a, Wrong: b}"))
    result = run("check", file, "--dictionary", dictionary)
    assert result.exit_code == 1
    assert "'Wrong' is in no dictionary" in result.stdout
    assert "Right" not in result.stdout.replace("write Right", "")
    assert run("check", file, "--dictionary", "none").exit_code == 0


def test_check_without_a_dictionary_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dane_radius.cli.policy_check.DEFAULT_DICTIONARY", "/nonexistent/dictionary")
    assert run("check", file).stdout.endswith("nothing found\n")
    file.write_text(POLICY.replace("vlan: 666", "vlan: 666, attributes: {Whatever: a}"))
    result = run("check", file, "--strict")
    assert result.exit_code == 0
    assert "[dictionary-missing]" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "/nonexistent/policy.yaml"),
        ("check", "POLICY", "--dictionary", "/nonexistent/dictionary"),
        ("check", "POLICY", "--ignore", "nothing"),
        ("test", "/nonexistent/policy.yaml"),
        ("explain", NAME, "--policy", "/nonexistent/policy.yaml"),
        ("explain", "*.example.net", "--policy", "POLICY"),
        ("explain", NAME, "--policy", "POLICY", "--wired", "--port-type", "Ethernet"),
        ("explain", NAME, "--policy", "POLICY", "--at", "soon"),
        ("explain", NAME, "--policy", "POLICY", "--standing", "good"),
        ("diff", "POLICY"),
        ("replay", "POLICY"),
        ("replay", "--log", "/nonexistent/log", "POLICY"),
        ("upgrade", "/nonexistent/policy.yaml"),
        ("example", "castle"),
        ("test", "POLICY", "--junit", "/nonexistent/report.xml"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], file: Path) -> None:
    result = run(*(str(file) if argument == "POLICY" else argument for argument in arguments))
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", [("test",), ("explain", NAME, "--policy"), ("diff",), ("upgrade",), ("replay",)])
def test_other_commands_refuse_an_invalid_policy(command: tuple[str, ...], file: Path) -> None:
    good = file.with_name("good.yaml")
    good.write_text(POLICY)
    file.write_text("version: 2\nrules: many\n")
    more = {"diff": [good], "replay": ["--log", good]}.get(command[0], [])
    result = run(*command, *more, file)
    assert result.exit_code == 1
    assert "invalid policy" in result.output
    assert "rules" in result.output


# --- explain


def test_explain_says_which_rule_and_why(file: Path) -> None:
    result = run("explain", NAME.upper(), "--policy", file, "--ssid", "iot")
    assert result.exit_code == 0
    assert "zone things  (Things of the house)" in result.stdout
    assert "a TLSA record of usage 2 or 3" in result.stdout
    assert "Tunnel-Private-Group-Id:0 := 30" in result.stdout
    refused = run("explain", NAME, "--policy", file, "--ssid", "other")
    assert refused.exit_code == 1
    assert "the request does not come from house" in refused.stdout
    assert "policy_network" in refused.stdout


def test_explain_with_a_standing(file: Path) -> None:
    found = run_json("explain", NAME, "--policy", file, "--ssid", "iot", "--standing", "quarantined")
    assert (found["access"], found["zone"], found["standing"]) == (True, "isolated", "quarantined")
    blocked = run("explain", NAME, "--policy", file, "--ssid", "iot", "--standing", "blocked")
    assert blocked.exit_code == 1
    assert "device_blocked" in blocked.stdout
    chosen = run_json("explain", NAME, "--policy", file, "--ssid", "iot", "--approved", "--zone", "isolated")
    assert chosen["zone"] == "isolated"
    unknown = run_json("explain", NAME, "--policy", file, "--ssid", "iot", "--approved", "--zone", "nowhere")
    assert unknown["reason"] == "zone_unknown"


@pytest.mark.parametrize(
    ("arguments", "reason", "monitored"),
    [
        (("--ssid", "other"), "policy_network", True),
        (("--ssid", "other", "--standing", "watched"), "policy_network", True),
        (("--ssid", "other", "--standing", "pending"), "policy_network", True),
        (("--ssid", "other", "--standing", "quarantined"), "policy_network", False),
        (("--ssid", "iot", "--standing", "blocked"), "device_blocked", False),
        (("--ssid", "iot", "--approved", "--zone", "nowhere"), "zone_unknown", False),
        # What is left is the DNS.
        (("--ssid", "iot", "--standing", "quarantined"), None, True),
        (("--ssid", "iot"), None, True),
    ],
)
def test_explain_says_what_monitor_mode_changes(
    arguments: tuple[str, ...], reason: str | None, monitored: bool, file: Path
) -> None:
    for text, expected in ((POLICY, False), (f"mode: monitor\n{POLICY}", monitored)):
        file.write_text(text)
        found = run_json("explain", NAME, "--policy", file, *arguments)
        assert (found["reason"], found["monitored"]) == (reason, expected)
    shown = run("explain", NAME, "--policy", file, *arguments).stdout
    assert ("mode: monitor admits it nevertheless" in shown) is (reason is not None and monitored)
    assert ("mode: monitor does not change this" in shown) is (reason is not None and not monitored)


def test_explain_at_a_time(file: Path) -> None:
    file.write_text(POLICY.replace("require: no_ca", "when: {until: 2027-01-01}"))
    arguments = ("explain", NAME, "--policy", file, "--ssid", "iot", "--at")
    before = run_json(*arguments, "2026-12-31 23:59")
    assert (before["access"], before["expires"]) == (True, 1798761600.0)
    assert run_json(*arguments, "2027-01-01")["reason"] == "policy_time"
    assert "this holds until 2027-01-01 00:00:00 UTC" in run(*arguments, "2026-12-31 23:59").stdout


def test_explain_shows_the_last_rules_of_many(file: Path) -> None:
    many = "".join(f"  - {{name: r{i}, identity: [a{i}.e.net], refuse: true}}\n" for i in range(50))
    file.write_text(POLICY.replace("rules:\n", f"rules:\n{many}"))
    short = run("explain", NAME, "--policy", file, "--ssid", "iot").stdout
    assert "31 more rules above do not match" in short
    assert "r10 " not in short
    assert "r10 " in run("explain", NAME, "--policy", file, "--ssid", "iot", "--all").stdout
    assert len(run_json("explain", NAME, "--policy", file, "--ssid", "iot")["rules"]) == 51


# --- test


def test_test_prints_pass_and_fail(file: Path) -> None:
    assert run("test", file).exit_code == 0
    file.write_text(POLICY.replace("expect: refuse", "expect: {zone: things}"))
    result = run("test", file)
    assert result.exit_code == 1
    assert "1 passed, 1 failed" in result.stdout
    assert "FAIL" in result.stdout
    found = run_json("test", file)
    assert (found["passed"], found["failed"]) == (1, 1)
    assert found["cases"][1]["problem"].startswith("refused: policy_no_rule")
    assert found["cases"][1]["line"] == 13


def test_test_writes_junit(file: Path, tmp_path: Path) -> None:
    file.write_text(POLICY.replace("expect: refuse", "expect: {zone: things}"))
    report = tmp_path / "report.xml"
    assert run("test", file, "--junit", report).exit_code == 1
    suite = ElementTree.parse(report).getroot().find("testsuite")  # noqa: S314  # our own file
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["a lamp", "a <stranger>"]
    failure = cases[1].find("failure")
    assert failure is not None
    assert f"{file}:13: x.example.org: refused" in (failure.text or "")


def test_a_file_without_cases_does_not_pass(file: Path) -> None:
    file.write_text(POLICY.partition("tests:")[0])
    result = run("test", file)
    assert result.exit_code == 1
    assert "has no `tests`" in result.stdout


# --- diff


def test_diff(file: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(POLICY.replace("vlan: 30", "vlan: 31"))
    result = run("diff", file, new)
    assert result.exit_code == 0
    assert "zone things: vlan is now 31, not 30" in result.stdout
    assert "(case: a lamp)" in result.stdout
    assert run("diff", file, new, "--exit-code").exit_code == 1
    assert run("diff", file, file, "--exit-code").exit_code == 0
    assert run_json("diff", file, new)["access"][0]["case"] == "a lamp"


def test_diff_compares_the_lists(file: Path, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text(f"{NAME}\n")
    (tmp_path / "new.txt").write_text("b1.light._device.city.example  # another\n")
    lost = "rules:\n  - {name: lost, devices: lost, refuse: true}\n"
    text = POLICY.replace("rules:\n", lost).replace("zones:\n", "device_lists: {lost: old.txt}\nzones:\n", 1)
    file.write_text(text)
    new = tmp_path / "new.yaml"
    new.write_text(text.replace("old.txt", "new.txt"))
    output = run("diff", file, new).stdout
    assert "1 name added (b1.light._device.city.example)" in output
    assert f"1 name removed ({NAME})" in output
    assert "b1.light._device.city.example  network house" in output


# --- upgrade


def test_upgrade_prints_the_new_file(file: Path) -> None:
    file.write_text(VERSION_1)
    result = run("upgrade", file)
    assert result.exit_code == 0
    assert result.stdout == (
        'version: 2  # one\nzones:\n  a:\n    vlan: 7\nrules:\n  - {name: a, identity: ["*.x.e.net"], zone: a}\n'
    )
    assert "the same access in" in result.stderr
    assert file.read_text() == VERSION_1


def test_upgrade_in_place_keeps_mode_and_the_old_file(file: Path) -> None:
    file.write_text(VERSION_1)
    file.chmod(0o640)
    assert run("upgrade", file, "--in-place").exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.read_text().startswith("version: 2  # one\n")
    assert file.with_name("policy.yaml.version-1").read_text() == VERSION_1
    upgraded = file.read_text()
    result = run("upgrade", file, "--in-place")
    assert "nothing to do" in result.stderr
    assert file.read_text() == upgraded
    assert sorted(os.listdir(file.parent)) == ["policy.yaml", "policy.yaml.version-1"]


def test_upgrade_in_place_keeps_a_link(file: Path, tmp_path: Path) -> None:
    file.write_text(VERSION_1)
    link = tmp_path / "elsewhere" / "policy.yaml"
    link.parent.mkdir()
    link.symlink_to(file)
    assert run("upgrade", link, "--in-place").exit_code == 0
    assert link.is_symlink()
    assert file.read_text().startswith("version: 2")


def test_upgrade_of_what_a_person_must_change(file: Path) -> None:
    file.write_text(VERSION_1.replace("{vlan: 7}", "&g {vlan: 7}"))
    result = run("upgrade", file, "--in-place")
    assert result.exit_code == 1
    assert "line 3: an anchor" in result.stderr
    assert file.read_text().startswith("version: 1")


# --- replay


def test_replay_lists_who_loses_access(file: Path, tmp_path: Path) -> None:
    log, second = tmp_path / "log", tmp_path / "log.2.gz"
    write_log(log, iter([line(NAME, zone="things", ssid="iot"), "garbage", line(NAME, zone="things", ssid="other")]))
    write_log(second, iter([line("x.example.org", reason="policy_no_rule", rule=None)]))
    result = run("replay", "--log", log, second, file)
    assert result.exit_code == 0
    assert "1 device loses access" in result.stdout
    assert NAME in result.stdout
    assert f"{log}, line 2: not JSON" in result.stdout
    found = run_json("replay", "--log", log, "--log", second, file)
    assert (found["decisions"], found["bad_lines"]) == (3, 1)
    assert found["lost"][0]["new"] == "refused: policy_network, rule everything-else"
    assert found["counts"] == {
        "lost": 1,
        "gained": 0,
        "changed": 0,
        "unknown": 0,
        "incomparable": 0,
        "reason": 0,
        "same": 2,
    }
    assert run("replay", "--log", log, file, "--exit-code").exit_code == 1


def test_replay_with_the_old_policy(file: Path, tmp_path: Path) -> None:
    log, new = tmp_path / "log", tmp_path / "new.yaml"
    write_log(log, iter([line(NAME, zone="things", ssid="iot")]))
    new.write_text(POLICY.replace("vlan: 30", "vlan: 31"))
    assert run_json("replay", "--log", log, new)["counts"]["same"] == 1
    assert run_json("replay", "--log", log, "--old", file, new)["counts"]["changed"] == 1
    assert "1 device gets other access" in run("replay", "--log", log, "--old", file, new).stdout


def test_a_log_cannot_control_the_terminal(file: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_log(log, iter([line("a1.light.\x1b[2J[red]x", zone="things", ssid="\x1b]0;gone\x07", nas="a\x9bb")]))
    output = run("replay", "--log", log, file).stdout
    assert not {character for character in output if not character.isprintable()} - {"\n"}
    assert "\\x1b[2J[red]x" in output
    assert "\\x9b" in output


def test_a_policy_cannot_control_the_terminal(file: Path) -> None:
    text = POLICY.replace("name: a lamp", 'name: "a \\e[2J lamp"')
    file.write_text(text.replace("Things of the house", '"\\e[2J [red]Things"'))
    for command in (("test", file), ("explain", NAME, "--policy", file, "--ssid", "iot"), ("diff", file, file)):
        result = run(*command)
        assert result.exit_code == 0
        assert "\x1b" not in result.output, command
    assert "\\x1b[2J [red]Things" in run("explain", NAME, "--policy", file, "--ssid", "iot").output


# --- example


def test_examples_are_printed() -> None:
    listed = run("example").stdout
    for name, text in EXAMPLES.items():
        assert f"{name:8} {text}" in listed
        path = Path(run("example", name, "--path").stdout.strip())
        assert path.read_text() == run("example", name).stdout


# --- the schema, and the documentation


def test_the_schema_is_printed() -> None:
    assert json.loads(run("schema").stdout)["$id"] == "policy-2.schema.json"


DOCUMENTATION = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()


def blocks() -> list[str]:
    """The indented blocks of the documentation, without their indentation."""
    found, block = [], ""
    for text in [*DOCUMENTATION.splitlines(), ""]:
        if text.startswith("    ") or (block and not text):
            block += f"{text[4:]}\n"
        elif block:
            found.append(block)
            block = ""
    return found


def policies_of_the_documentation() -> list[str]:
    return [block for block in blocks() if block.startswith("version:")]


def test_the_documentation_has_a_policy_of_each_version() -> None:
    assert [text.splitlines()[0] for text in policies_of_the_documentation()] == ["version: 2", "version: 1"]


def test_the_policies_of_the_documentation_are_good(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "lost.txt").write_text("x.example.net\n")
    path = tmp_path / "policy.yaml"
    for text in policies_of_the_documentation():
        path.write_text(text)
        # The grants of the documentation end one day, and this test must not.
        result = run("check", path, "--strict", "--dictionary", "none", "--ignore", "rule-ended")
        assert result.exit_code == 0, result.stdout
        if "tests:" in text:
            assert run("test", path).exit_code == 0
        assert run("upgrade", path).exit_code == 0


def test_the_documentation_lists_every_code_with_its_level() -> None:
    for code, level in CODES.items():
        assert any(f"`{code}`" in row and f"| {level} |" in row for row in DOCUMENTATION.splitlines()), code


def test_the_documentation_lists_the_examples() -> None:
    for name, text in EXAMPLES.items():
        assert f"| `{name}` | {text} |" in DOCUMENTATION

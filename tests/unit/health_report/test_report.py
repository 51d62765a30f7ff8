"""The report of a `doctor` command: a toy product with its own checks."""

from __future__ import annotations

import io
import json
import sys

import pytest

from health_report import (
    CannotTry,
    CheckId,
    Finding,
    NotTried,
    Pending,
    Severity,
    error,
    has_failed,
    info,
    json_report,
    ok,
    print_report,
    warning,
)


class Check(CheckId):
    PUMP_PRESSURE = "pump.pressure"
    PUMP_OIL_LEVEL = "pump.oil_level"
    VALVE_POSITION = "valve.position"

    @property
    def link(self) -> str:
        return f"docs/pump.md#{self.area}"


GOOD = ok(Check.PUMP_PRESSURE, "3 bar")
NOTE = info(Check.PUMP_OIL_LEVEL, "between the marks")
LOW = warning(Check.PUMP_OIL_LEVEL, "low [by 1 cm]", "above the lower mark", "fill up oil")
SHUT = error(Check.VALVE_POSITION, "shut", "open", "open it")


def test_only_an_error_fails() -> None:
    assert not has_failed([GOOD, NOTE, LOW])
    assert has_failed([GOOD, SHUT])
    assert [finding.problem for finding in (GOOD, NOTE, LOW, SHUT)] == [False, False, True, True]


def test_json_has_counts_of_all_and_findings_of_those_wanted() -> None:
    whole = json_report("1.2", [GOOD, NOTE, LOW, SHUT], quiet=False)
    assert json.loads(json.dumps(whole)) == whole
    assert whole["version"] == "1.2"
    assert whole["ok"] is False
    assert whole["counts"] == {"ok": 1, "info": 1, "warning": 1, "error": 1}
    assert whole["findings"][3] == {
        "id": "valve.position",
        "area": "valve",
        "severity": "error",
        "found": "shut",
        "expected": "open",
        "fix": "open it",
        "link": "docs/pump.md#valve",
    }
    quiet = json_report("1.2", [GOOD, NOTE, LOW], quiet=True)
    assert quiet["ok"] is True
    assert quiet["counts"]["ok"] == 1
    assert [finding["id"] for finding in quiet["findings"]] == ["pump.oil_level"]


def printed(monkeypatch: pytest.MonkeyPatch, encoding: str, findings: list[Finding[Check]], *, quiet: bool) -> str:
    octets = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(octets, encoding=encoding))
    print_report(findings, quiet=quiet)
    sys.stdout.flush()
    return octets.getvalue().decode(encoding)


def test_the_table_has_areas_marks_and_the_errors_last(monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(monkeypatch, "utf-8", [GOOD, SHUT, LOW], quiet=False)
    assert [line.split() for line in text.splitlines()[:3]] == [["pump"], ["✓", "pressure", "3", "bar"], ["valve"]]
    # Markup in what was found is text.
    assert "low [by 1 cm]" in text
    assert text.index("! pump.oil_level") < text.index("✗ valve.position")
    assert "    expected: open\n    fix: open it\n    see docs/pump.md#valve\n" in text
    assert text.endswith("\nerrors: 1, warnings: 1, findings: 3\n")


def test_a_serial_console_gets_plain_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    umlaut = warning(Check.PUMP_OIL_LEVEL, "Öl", "more", "fill up oil")
    text = printed(monkeypatch, "ascii", [GOOD, umlaut, SHUT], quiet=False)
    assert text.isascii()
    assert "+    pressure" in text
    assert "x valve.position" in text
    assert "?l" in text


def test_what_was_found_does_not_control_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = error(Check.VALVE_POSITION, "\x1b[2J\u202eshut\x07 [red]x[/]\nopen", "é", "turn")
    text = printed(monkeypatch, "utf-8", [hostile], quiet=True)
    assert "?[2J?shut? [red]x[/]\nopen" in text
    assert "expected: é" in text


def test_quiet_prints_nothing_if_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, "utf-8", [GOOD, NOTE], quiet=True) == ""
    text = printed(monkeypatch, "utf-8", [GOOD, LOW], quiet=True)
    assert "pressure" not in text
    assert "errors: 0, warnings: 1" in text


def test_a_check_without_a_section_is_a_defect() -> None:
    class Careless(CheckId):
        NO_LINK = "no.link"

    with pytest.raises(NotImplementedError):
        ok(Careless.NO_LINK, "x").to_json()


class OurError(Exception):
    pass


class OurPending(Pending[int]):
    explained = (CannotTry, OurError)


@pytest.mark.parametrize(
    ("kind", "raised", "why"),
    [
        (Pending, CannotTry("no pump"), "no pump"),
        (Pending, OurError("no oil"), "OurError: no oil"),
        (OurPending, OurError("no oil"), "no oil"),
        (OurPending, CannotTry("no pump"), "no pump"),
        (OurPending, FileNotFoundError(2, "No such file", "/pump"), "/pump: No such file"),
    ],
)
def test_a_product_explains_its_own_exceptions(kind: type[Pending[int]], raised: Exception, why: str) -> None:
    def probe() -> int:
        raise raised

    assert kind(probe, 10).result() == NotTried(why)


def test_severities_are_closed() -> None:
    assert [severity.value for severity in Severity] == ["ok", "info", "warning", "error"]

"""The plots: axes, and SVG that a parser accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench import plots


def row(arm: str, size: int, ms: int, last_in: float | None, accepted: int) -> dict[str, Any]:
    return {
        "arm": arm,
        "size": size,
        "round_trip_ms": ms,
        "round": 1,
        "last_in": last_in,
        "accepted": accepted,
        "authentications": size,
        "admitted_at": [last_in or 0.0] * accepted,
    }


ROWS = [
    row(arm, size, ms, 1.0 if arm == "plain" else 1.2, size if arm == "plain" or ms < 100 else size // 2)
    for arm in ("plain", "module")
    for size in (100, 300, 1000)
    for ms in (0, 10, 30, 100)
]


@pytest.mark.parametrize(
    ("highest", "wanted"), [(1.0, 0.2), (5.0, 1.0), (5.1, 2.0), (100, 20), (1000, 200), (0.3, 0.1), (0, 1)]
)
def test_steps_are_round(highest: float, wanted: float) -> None:
    assert plots.nice_step(highest) == pytest.approx(wanted)


def test_both_plots_are_written_and_well_formed(tmp_path: Path) -> None:
    paths = plots.write({"rows": ROWS}, tmp_path / "plots")
    assert [path.name for path in paths] == ["storm-completion.svg", "storm-admissions.svg"]
    for path in paths:
        root = ElementTree.fromstring(path.read_text())  # noqa: S314  # our own
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_a_storm_that_left_devices_out_says_so() -> None:
    text = plots.completion(ROWS)
    assert text.count("50 % in") == 3
    for size in (100, 300, 1000):
        assert f"{size} devices at once" in text


def test_a_storm_with_nobody_in_is_drawn(tmp_path: Path) -> None:
    rows = [row("plain", 100, 0, 0.2, 100), row("module", 100, 0, None, 0)]
    for path in plots.write({"rows": rows}, tmp_path):
        ElementTree.fromstring(path.read_text())  # noqa: S314  # our own


def test_admissions_show_the_largest_storm() -> None:
    text = plots.admissions(ROWS)
    assert "1000 devices at once" in text
    assert "300 devices" not in text
    assert text.count("ms away") == 4


def test_a_long_line_is_thinned_and_keeps_its_end() -> None:
    points = [(float(n), float(n)) for n in range(1001)]
    found = plots.thin(points)
    assert len(found) <= 201
    assert found[-1] == points[-1]
    assert set(found) <= set(points)
    assert list(plots.thin(points[:5])) == points[:5]
    assert list(plots.thin([])) == []

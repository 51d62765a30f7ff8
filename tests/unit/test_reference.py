"""The reference pages say something about everything that they list."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "script"))

from reference import PAGES, configuration_page, metrics_page  # noqa: E402  # a script, not a package


@pytest.mark.parametrize("path", sorted(PAGES))
def test_no_row_of_a_table_lacks_its_meaning(path: str) -> None:
    rows = [line for line in PAGES[path]().splitlines() if line.startswith("| `")]
    assert [row for row in rows if re.search(r"\|\s+\|$", row)] == []
    assert rows or path == "reference/commands.md"


@pytest.mark.parametrize(
    "row",
    [
        "| `timeout` | number, more than 0, at most 10 | `1.5` | Seconds that one lookup may take",
        '| `transport` | `"udp"` or `"tls"` | `"udp"` |',
        "| `url` | text | required |",
        "| `handshake_seconds` | number, at least 0.1, at most 3600 | `10` | from the connection to the end",
    ],
)
def test_a_key_is_listed_with_its_type_bounds_and_default(row: str) -> None:
    assert f"\n{row}" in configuration_page()


def test_metrics_are_listed_by_the_name_that_is_scraped() -> None:
    page = metrics_page()
    for name in ("dane_radius_decisions_total", "dane_radius_slow_domains", "trust_sync_build_info"):
        assert f"| `{name}` |" in page


def test_every_command_is_there() -> None:
    page = PAGES["reference/commands.md"]()
    for command in (
        "dane-radius check",
        "dane-radius flush",
        "trust-sync discover",
        "iot-registry device",
        "iot-safe-sim enroll",
    ):
        assert re.search(rf"^#+ {command}", page, re.MULTILINE), command

"""The doctor's checks of the standing of devices: the journal, the feed, and the reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dane_radius.doctor.facts import Facts
from dane_radius.server.config import check_config
from health_report import NotTried
from tests.unit.dane_radius.doctor_facts import GOOD, SETTINGS, STATUS, SYNC_STATUS, problems

JOURNAL: dict[str, Any] = STATUS["standing"]
FEED: dict[str, Any] = SYNC_STATUS["operations"]
FOLDER = "/var/lib/standing"


def facts(journal: Any = JOURNAL, feed: Any = FEED, standing: str | None = FOLDER) -> Facts:
    return replace(
        GOOD,
        config=check_config({key: value for key, value in {**SETTINGS, "standing": standing}.items() if value}, "x"),
        running=replace(GOOD.running, status={**STATUS, "standing": journal}),
        sync=replace(GOOD.sync, status={**SYNC_STATUS, "operations": feed}),
    )


CASES: list[tuple[str, Facts, set[tuple[str, str]]]] = [
    ("all is well", facts(), set()),
    ("not used", facts(None, None, None), set()),
    ("written and not read", facts(None, FEED, None), {("standing.journal", "error")}),
    ("server not restarted", facts(None), {("standing.journal", "error")}),
    ("never read", facts({**JOURNAL, "available": False, "error": "no such file"}), {("standing.journal", "error")}),
    ("not readable any more", facts({**JOURNAL, "error": "line 3"}), {("standing.journal", "error")}),
    ("nobody writes it", facts(feed=None), {("standing.feed", "warning")}),
    ("never reached", facts(feed={**FEED, "last_success_seconds": None}), {("standing.feed", "error")}),
    ("silent", facts(feed={**FEED, "last_success_seconds": 601}), {("standing.feed", "error")}),
    ("failed once", facts(feed={**FEED, "error": "refused", "failures": 1}), {("standing.feed", "warning")}),
    ("another service", facts(feed={**FEED, "kept": 3}), {("standing.feed", "warning")}),
    ("accounting away", facts(feed={**FEED, "waiting_for_accounting": 1}), {("standing.feed", "error")}),
    (
        "reports refused",
        facts(feed={**FEED, "reports": {"decisions": "status 403", "sessions": None}}),
        {("standing.reports", "warning")},
    ),
    ("lost", facts(feed={**FEED, "decisions_lost": 2}), {("standing.reports", "warning")}),
    ("no reports", facts(feed={**FEED, "reports": None}), set()),
    ("of another version", facts({"available": True}, {"last_success_seconds": "x"}), {("standing.feed", "error")}),
    ("no server", replace(facts(), running=NotTried("gone")), {("running.server", "error")}),
    ("no worker", replace(facts(), sync=replace(GOOD.sync, status=NotTried("gone"))), {("sync.worker", "error")}),
]


@pytest.mark.parametrize(("found", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_wrong_is_found_and_nothing_else(found: Facts, expected: set[tuple[str, str]]) -> None:
    assert problems(found) == expected

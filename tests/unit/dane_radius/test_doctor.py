"""The findings of `dane-radius doctor` as a whole: their ids, links and form, and that each check is tested."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.doctor.checks import all_findings
from dane_radius.doctor.findings import GUIDE, Check, Severity
from health_report import Account, Node
from tests.unit.dane_radius.doctor_facts import (
    GOOD,
    SERVER,
    on,
    problems,
)
from tests.unit.dane_radius.test_doctor_installation import CASES as INSTALLATION
from tests.unit.dane_radius.test_doctor_services import CASES as SERVICES
from tests.unit.dane_radius.test_doctor_standing import CASES as STANDING


def test_good_facts_are_no_problem() -> None:
    assert problems(GOOD) == set()
    for finding in all_findings(GOOD):
        assert finding.found


KEYS = [
    *("policy", "problems", "digest", "anchors", "error", "lookups", "slow_domains", "waiting", "may_wait", "version"),
    *("standing", "available", "operations", "kept", "reports", "devices", "decisions_lost", "sequence"),
    *("registries", "home", "last_success_seconds", "sessions", "pending_count", "state_error"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_a_reply_of_any_shape_is_judged(reply: dict[str, Any]) -> None:
    assert all_findings(on("running", status=reply)())
    assert all_findings(on("sync", status=reply)())


def test_each_check_was_seen_to_fail() -> None:
    """A check that no deviation reaches is not tested."""
    reached = {id_ for _, _, expected in (*INSTALLATION, *SERVICES, *STANDING) for id_, _ in expected}
    assert {check.value for check in Check} - reached == set()


def test_each_check_was_seen_to_pass() -> None:
    good = {finding.check for finding in all_findings(GOOD)}
    # Found only where something is wrong.
    faults = {Check.INSTALL_MANIFEST, Check.ANCHORS_INDEX, Check.SYNC_WORKER}
    assert set(Check) - good == faults


def test_json_has_stable_keys() -> None:
    for finding in all_findings(GOOD):
        data = finding.to_json()
        assert list(data) == ["id", "area", "severity", "found", "expected", "fix", "link"]
        assert data["severity"] in {severity.value for severity in Severity}
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", data["id"])


def test_links_lead_to_headings_of_the_guide() -> None:
    guide = Path(__file__).parents[3] / GUIDE
    headings = re.findall(r"^#+ (.+)$", guide.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for check in Check:
        assert check.link.partition("#")[2] in anchors, check


@pytest.mark.parametrize(
    ("node", "wanted", "expected"),
    [
        (Node("/x", 101, 0, 0o400), 4, True),
        # The owner's bits alone count for the owner, as in the kernel.
        (Node("/x", 101, 103, 0o044), 4, False),
        (Node("/x", 0, 110, 0o040), 4, True),
        (Node("/x", 0, 110, 0o004), 4, False),
        (Node("/x", 0, 0, 0o004), 4, True),
        (Node("/x", 0, 0, 0o004), 5, False),
        (Node("/x", 0, 0, 0o770), 4, False),
    ],
)
def test_rights_of_the_server(node: Node, wanted: int, expected: bool) -> None:
    assert node.allows(SERVER, wanted) is expected
    assert node.allows(Account("root", 0, frozenset()), wanted)

"""The ready-made policies: each loads, has nothing to find fault with, and passes its own tests.

tests/integration/dane_radius/test_policy_examples.py runs each on a real server.
"""

from __future__ import annotations

import pytest

from dane_radius.cli.policy_common import name_problem
from policy import RuleKind, Strength, load_policy
from policy.analysis import EXAMPLES, Document, Level, examine, example_file, run_cases

# 2026-12-01, and 2040-12-01. The grants of the examples end between the two.
NOW, LATER = 1_796_083_200.0, 2_237_932_800.0


def test_every_file_is_an_example() -> None:
    assert {path.stem for path in example_file("home").parent.glob("*.yaml")} == set(EXAMPLES)
    with pytest.raises(KeyError):
        example_file("../home")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_has_no_findings(name: str) -> None:
    path = example_file(name)
    findings = examine(
        load_policy(path), Document(path.read_bytes()), now=NOW, name_problem=name_problem, dictionary=None
    )
    assert [finding for finding in findings if finding.level is not Level.NOTE] == []


@pytest.mark.parametrize("now", [NOW, LATER])
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_passes_its_own_tests(name: str, now: float) -> None:
    path = example_file(name)
    policy = load_policy(path)
    results = run_cases(policy, Document(path.read_bytes()), now=now)
    assert [result for result in results if not result.passed] == []
    # Every zone has a case, and refusals have one, too.
    found = {result.case.zone for result in results}
    assert set(policy.zones) <= found
    assert any(result.case.refused for result in results)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_written_for_people(name: str) -> None:
    policy = load_policy(example_file(name))
    assert all(zone.description for zone in policy.zones.values())
    assert policy.rules[-1].kind is RuleKind.DEFAULT
    assert policy.rules[-1].grant is None
    assert not policy.monitor


def test_what_opens_doors_proves_its_own_key() -> None:
    rules = {rule.name: rule for rule in load_policy(example_file("home")).rules}
    assert rules["home-security"].require is Strength.DANE_EE
    assert rules["home-security"].approval

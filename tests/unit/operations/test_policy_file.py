"""The policy file: an invalid version changes nothing, and everyone is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations.core.reasons import StandingReason
from operations.local import metrics
from operations.local.policy_file import PolicyFile
from tests.unit.operations.conftest import POLICY, Bench
from web_service.core import Refused


def valid() -> float | None:
    return metrics.REGISTRY.get_sample_value("dane_operations_policy_valid")


def test_an_invalid_version_leaves_the_last_valid_one_in_force(bench: Bench) -> None:
    assert bench.policy.zones == {"appliance", "quarantine", "waiting"}
    bench.path.write_text("version: 2\nrules: nonsense\n")
    bench.policy.refresh()
    assert bench.policy.error is not None
    assert valid() == 0
    assert bench.policy.zones == {"appliance", "quarantine", "waiting"}
    assert [rule.name for rule in bench.policy.rules] == ["cloned", "rejected"]
    bench.path.write_text(POLICY.replace("appliance", "kitchen"))
    bench.policy.refresh()
    assert bench.policy.error is None
    assert valid() == 1
    assert "kitchen" in bench.policy.zones


def test_an_invalid_file_at_the_start_is_as_none_until_it_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    policy = PolicyFile(path)
    assert policy.error is not None
    assert policy.rules == ()
    policy.check_zone(None)
    with pytest.raises(Refused, match="invalid") as caught:
        policy.check_zone("quarantine")
    assert caught.value.reason is StandingReason.NO_POLICY
    path.write_text(POLICY)
    policy.refresh()
    assert policy.error is None
    policy.check_zone("quarantine")


def test_places_have_the_names_of_the_policys_networks(bench: Bench) -> None:
    assert bench.policy.network_of("Home", "ap-1", None) == "home"
    assert bench.policy.network_of("Elsewhere", "ap-1", None) is None
    assert PolicyFile(None).network_of("Home", None, None) is None

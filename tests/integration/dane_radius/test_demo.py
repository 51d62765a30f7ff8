"""All observations of the demo hold, from its own command: the acceptance test of the main job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.demonstration import demonstrate

REQUIRED = {
    "key-record": ("accept", "dane_match"),
    "tls-1.2": ("accept", "dane_match"),
    "certificate-record": ("accept", "dane_match"),
    "rollover": ("accept", "dane_match"),
    "no-record": ("reject", "tlsa_absent"),
    "stolen-name": ("reject", "tlsa_mismatch"),
    "no-rule": ("reject", "policy_no_rule"),
    "anonymous": ("accept", "dane_match"),
    "tampered-zone": ("reject", "dns_bogus"),
    "unsigned-zone": ("reject", "dns_insecure"),
    "deleted-record": ("reject", "tlsa_absent"),
    "silent-resolver": ("reject", "dns_unavailable"),
}


@pytest.mark.daemons
def test_every_observation_of_the_demo_holds(tmp_path: Path) -> None:
    document = demonstrate("decisions", tmp_path / "decisions.json", timeout=180)
    observed = {o["key"]: (o["verdict"], o["reason"]) for o in document["observations"]}
    assert observed == REQUIRED
    by_key = {o["key"]: o for o in document["observations"]}
    assert by_key["no-rule"]["dns_queries"] == 0
    assert "EDE" in by_key["tampered-zone"]["decision"]["evidence"]["dns"]
    assert by_key["tls-1.2"]["tls_version"] == "1.2"
    assert by_key["key-record"]["tls_version"] == "1.3"
    assert by_key["key-record"]["attributes"]["User-Name"] == ["'front.camera._device.iot.example'"]
    assert by_key["stolen-name"]["radius"] == "Access-Reject"
    assert any('reason="tlsa_mismatch",verdict="reject"} 1.0' in line for line in document["metrics"])

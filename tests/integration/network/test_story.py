"""The whole story on real 802.1X, from the demo's command: the acceptance test of all parts together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.demo.network_story import FLEET, NAME, NEW_NAME
from tests.harness.demonstration import demonstrate

REQUIRED = {
    "enroll": ("enrolled", NAME),
    "join_house": ("accept", "dane_match"),
    "accounting": ("accounted", None),
    "move_to_office": ("accept", "dane_match"),
    "impostor_unknown_ca": ("reject", "unknown CA"),
    "impostor_known_ca": ("reject", "tlsa_mismatch"),
    "revoke": ("disconnected", "record gone"),
    "refused": ("reject", "tlsa_absent"),
    "rehome": ("accept", "dane_match"),
    "rollover": ("rolled over", None),
    "fleet_returns": ("accept", f"{FLEET} of {FLEET}"),
    "prometheus": ("scraped", "5 targets"),
}


@pytest.mark.daemons
def test_every_observation_of_the_story_holds(tmp_path: Path) -> None:
    document = demonstrate("network", tmp_path / "network.json", timeout=300)
    seen = {o["key"]: o for o in document["network"]}
    assert list(seen) == list(REQUIRED)
    for key, (verdict, reason) in REQUIRED.items():
        assert seen[key]["verdict"] == verdict, key
        assert reason is None or seen[key]["reason"] == reason, key
    house, office = seen["join_house"]["decision"], seen["move_to_office"]["decision"]
    assert (house["name"], house["rule"], house["nas"]) == (NAME, "bought-devices", "house-switch")
    assert (office["name"], office["rule"], office["nas"]) == (NAME, "visiting-devices", "office-switch")
    assert office["evidence"]["matched"].startswith("4 0 0")
    assert seen["move_to_office"]["discovery"]["source"] == "pkix-cd"
    assert seen["accounting"]["radacct"]["username"] == NAME
    assert seen["rehome"]["decision"]["name"] == NEW_NAME
    # No device with an old certificate was admitted, before the parent published the new keys or after.
    locked_out = seen["rollover"]["before_ds"] + seen["rollover"]["after_ds"]
    assert [entry["accepted"] for entry in locked_out] == [False] * 2 * FLEET
    assert {entry["reason"] for entry in seen["rollover"]["before_ds"]} == {"dns_bogus"}
    print(f"revocation to disconnect: {seen['revoke']['seconds']} s, without a feed, at a TTL of 1 s")

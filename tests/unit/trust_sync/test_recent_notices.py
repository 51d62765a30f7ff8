"""Recent notices of registries: kept for a while, and apart."""

from __future__ import annotations

from tests.unit.trust_sync.registries import REGISTRIES
from trust_sync.sessions.recent_notices import RecentNotices
from trust_sync.sessions.registry_map import RegistryMap
from trust_sync.shared import Trigger


def test_what_was_said_is_remembered_for_a_while_and_of_each_registry_apart() -> None:
    notices = RecentNotices(RegistryMap(REGISTRIES), REGISTRIES)
    notices.add("one", "a.one.example", Trigger.REVOKED, 0.0)
    notices.add("one", "a.one.example", Trigger.FEED, 1.0)
    notices.add("one", "b.one.example", Trigger.FEED, 1.0)
    notices.add("one", "c.one.example", Trigger.ROLLOVER, 1.0)
    for number in range(50_000):
        notices.add("two", f"d{number}.two.example", Trigger.REVOKED, 1.0)
    found = [
        notices.trigger_for(f"{name}.example", 2.0)
        for name in ("a.one", "b.one", "c.one", "d1.two", "d49999.two", "a.else")
    ]
    assert found == [Trigger.REVOKED, Trigger.FEED, Trigger.TTL, Trigger.TTL, Trigger.REVOKED, Trigger.TTL]
    assert notices.trigger_for("a.one.example", 120.5) is Trigger.FEED
    assert notices.trigger_for("a.one.example", 122.0) is Trigger.TTL

"""Discovered anchors: kept while their zones publish them, refreshed on schedule, and removed in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dane_radius.core import AnchorSource, Answer, Secure, TlsaRecord, Unavailable
from policy import Policy, parse_policy
from tests.harness.pki import authority, self_signed
from tests.harness.trust_sync import authority_path
from tests.unit.trust_sync.discovery_world import (
    ABSENT,
    DAY,
    DEVICE,
    DOMAIN,
    FAILURES,
    NEW,
    NOW,
    OLD,
    ONE,
    TWO,
    WILD,
    World,
)
from trust_sync.anchors import parse_certificate
from trust_sync.discovery import Reason
from trust_sync.discovery.fetch import Fetched
from trust_sync.discovery.refresh import literal_names


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with_world = World(tmp_path)
    yield with_world
    with_world.store.close()


@pytest.mark.parametrize("answer", FAILURES)
@pytest.mark.parametrize("record", [OLD.tlsa(2, 0, 0), DEVICE.tlsa(3, 0, 0)])
async def test_no_failure_ever_takes_an_anchor_away(world: World, answer: Answer, record: TlsaRecord) -> None:
    world.say(ONE, record)
    await world.find(ONE)
    before = world.held
    world.answers[ONE] = answer
    for _ in range(60):
        await world.later(DAY)
    assert world.held == before
    assert world.state.names[ONE].failures > 10
    assert world.state.names[ONE].last_error
    assert world.state.unbacked == {}


@pytest.mark.parametrize("answer", [ABSENT, Secure((DEVICE.tlsa(3, 1, 1),), 60), Secure((), 60)])
async def test_a_devices_own_certificate_goes_with_its_record(world: World, answer: Answer) -> None:
    device = self_signed(ONE)
    world.say(ONE, device.tlsa(3, 0, 0))
    await world.find(ONE)
    assert world.held == {device.fingerprint}
    world.answers[ONE] = answer
    await world.later(301)
    assert world.held == set()
    assert ONE not in world.state.names


async def test_a_ca_goes_a_while_after_the_last_name_that_led_to_it(world: World) -> None:
    for name in (ONE, TWO):
        world.say(name, OLD.tlsa(2, 0, 0))
        await world.find(name)
    del world.answers[ONE]
    for _ in range(10):
        await world.later(DAY)
    # The other device's record still leads to it.
    assert world.held == {OLD.fingerprint}
    del world.answers[TWO]
    await world.later(DAY)
    assert world.state.names == {}
    for _ in range(6):
        await world.later(DAY)
        assert world.held == {OLD.fingerprint}
    await world.later(DAY)
    assert world.held == set()


async def test_a_name_that_turns_up_in_between_keeps_it(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    del world.answers[ONE]
    await world.later(5 * DAY)
    assert world.state.unbacked
    world.say(TWO, OLD.tlsa(2, 0, 0))
    await world.find(TWO)
    for _ in range(10):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint}
    assert world.state.unbacked == {}


async def test_while_a_ca_is_rolled_both_are_held_and_then_the_new_one_alone(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    world.say(ONE, OLD.tlsa(2, 0, 0), NEW.tlsa(2, 0, 0))
    await world.later(301)
    assert world.held == {OLD.fingerprint, NEW.fingerprint}
    for _ in range(20):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint, NEW.fingerprint}
    world.say(ONE, NEW.tlsa(2, 0, 0))
    for _ in range(9):
        await world.later(DAY)
    assert world.held == {NEW.fingerprint}


async def test_a_ca_behind_a_url_stays_while_the_record_names_it_whatever_the_web_server_says(world: World) -> None:
    world.say(ONE, DEVICE.tlsa(4, 0, 0))
    path = authority_path(OLD)
    world.files[path] = Fetched(OLD.pem, 600.0)
    await world.find(ONE)
    del world.files[path]
    for _ in range(20):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint}
    assert "status 404" in (world.state.names[ONE].last_error or "")
    sample = world.metrics.registry.get_sample_value("trust_sync_refresh_failures_total", {"reason": "status"})
    assert sample is not None
    assert sample > 5
    # The device now has another CA. No name leads to the old one; the new one is fetched until that succeeds.
    world.say(ONE, NEW.issue(ONE).tlsa(4, 0, 0))
    await world.later(2 * DAY)
    assert world.state.names[ONE].fingerprints == []
    world.files[authority_path(NEW)] = Fetched(NEW.pem, 600.0)
    await world.later(2 * DAY)
    assert world.held == {OLD.fingerprint, NEW.fingerprint}
    for _ in range(8):
        await world.later(DAY)
    assert world.held == {NEW.fingerprint}


async def test_the_last_ca_of_a_domain_with_live_sessions_stays(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    del world.answers[ONE]
    world.live = [TWO]
    for _ in range(20):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint}
    world.live = ["x._device.example.org"]
    for _ in range(9):
        await world.later(DAY)
    assert world.held == set()


async def test_what_a_registry_lists_is_not_discoverys_to_take_away(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    world.store.add(parse_certificate(OLD.der), ["example.net"], AnchorSource.REGISTRY, NOW)
    assert world.store.held.records[OLD.fingerprint].source is AnchorSource.REGISTRY
    assert world.store.held.discovered == 0
    del world.answers[ONE]
    for _ in range(20):
        await world.later(DAY)
    assert world.held == {OLD.fingerprint}


async def test_a_policy_that_drops_a_domain_ends_the_looking_and_in_time_the_anchor(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    world.policy = parse_policy(WILD.replace("example.net", "example.org").encode())
    world.asked.clear()
    for _ in range(9):
        await world.later(DAY)
    assert world.asked == []
    assert world.held == set()


async def test_a_lost_state_file_costs_no_anchor_that_is_still_published(tmp_path: Path) -> None:
    device = self_signed(ONE)
    first = World(tmp_path)
    first.say(ONE, device.tlsa(3, 0, 0))
    await first.find(ONE)
    first.store.close()
    second = World(tmp_path)
    try:
        second.say(ONE, device.tlsa(3, 0, 0))
        for _ in range(9):
            await second.later(DAY)
        assert second.held == {device.fingerprint}
        del second.answers[ONE]
        await second.later(DAY)
        assert second.held == set()
    finally:
        second.store.close()


async def test_a_store_that_cannot_be_changed_keeps_its_anchor_and_lets_go_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    del world.answers[ONE]
    await world.later(DAY)

    def full(line: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.store.journal, "_append", full)
    await world.later(9 * DAY)
    assert world.held == {OLD.fingerprint}
    assert world.metrics.registry.get_sample_value("trust_sync_store_failures_total")
    monkeypatch.undo()
    await world.later(DAY)
    assert world.held == set()


@pytest.mark.parametrize(("ttl", "max_age", "wait"), [(60, None, 300), (3600, 600.0, 600), (3600, None, 3600),
                                                     (10**6, None, 86_400), (3600, 0.0, 300)])  # fmt: skip
async def test_the_next_look_comes_by_ttl_and_cache_control(
    world: World, ttl: int, max_age: float | None, wait: float
) -> None:
    world.say(ONE, DEVICE.tlsa(4, 0, 0), ttl=ttl)
    world.files[authority_path(OLD)] = Fetched(OLD.pem, max_age)
    await world.find(ONE)
    due = world.state.names[ONE].due - world.now
    assert wait * 0.9 <= due <= wait
    world.asked.clear()
    await world.later(wait * 0.89)
    assert world.asked == []
    await world.later(wait * 0.12)
    assert world.asked == [ONE, authority_path(OLD)]


async def test_failures_back_off_with_jitter_and_a_success_resets_them(world: World) -> None:
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.find(ONE)
    world.answers[ONE] = Unavailable("down")
    waits = []
    for _ in range(12):
        await world.later(max(0.0, world.state.names[ONE].due - world.now))
        waits.append(world.state.names[ONE].due - world.now)
    for number, wait in enumerate(waits):
        full = min(DAY, 300.0 * 2**number)
        assert 0.9 * full <= wait <= full
    world.say(ONE, OLD.tlsa(2, 0, 0))
    await world.later(DAY)
    assert world.state.names[ONE].failures == 0
    assert world.state.names[ONE].last_error is None


async def test_a_name_without_anchors_that_keeps_failing_is_forgotten(world: World) -> None:
    world.say(ONE, DEVICE.tlsa(4, 0, 0))
    world.files[authority_path(OLD)] = Fetched(OLD.pem, None)
    await world.find(ONE)
    world.files.clear()
    world.say(ONE, NEW.issue(ONE).tlsa(4, 0, 0))
    for _ in range(12):
        await world.later(DAY)
    assert world.state.names == {}


async def test_names_that_policy_spells_out_are_found_before_anybody_turns_up(tmp_path: Path) -> None:
    text = "version: 1\nrules:\n  - {name: one, identity: ['%s'], grant: {vlan: 1}}\n" % ONE  # noqa: UP031
    world = World(tmp_path, text)
    try:
        world.say(ONE, OLD.tlsa(2, 0, 0))
        await world.later(0)
        assert world.held == {OLD.fingerprint}
        # The record is absent. The name is refreshed on schedule, as long as policy contains it.
        world.answers[ONE] = ABSENT
        await world.later(301)
        world.asked.clear()
        await world.later(1)
        assert world.asked == []
        world.say(ONE, NEW.tlsa(2, 0, 0))
        await world.later(301)
        assert NEW.fingerprint in world.held
        world.policy = parse_policy(WILD.replace("example.net", "example.org").encode())
        await world.later(DAY)
        assert world.state.names == {}
    finally:
        world.store.close()


def test_only_names_with_access_and_without_wildcards_are_literal_names() -> None:
    policy: Policy = parse_policy(
        b"version: 1\nrules:\n"
        b"  - {name: denied, identity: ['a.x.example'], deny: true}\n"
        b"  - {name: granted, identity: ['b.x.example', 'a.x.example', '*.y.example', '**.z.example'],"
        b" grant: {vlan: 1}}\n"
    )
    assert literal_names(policy) == ["b.x.example"]


async def test_a_clock_that_is_set_back_by_years_does_not_put_the_next_look_off_by_years(world: World) -> None:
    world.now += 3650 * DAY
    world.say(ONE, self_signed(ONE, days=9999).tlsa(3, 0, 0))
    await world.find(ONE)
    world.asked.clear()
    await world.later(-3650 * DAY)
    assert world.asked == [ONE]
    await world.later(1)
    assert world.asked == [ONE]


async def test_discovered_anchors_are_bounded_for_a_domain_and_in_all_and_known_ones_still_refresh(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, max_anchors_per_domain=2, max_anchors=3)
    try:
        devices = {f"d{n}.{place}.example.net": self_signed(f"d{n}.{place}.example.net")
                   for place in ("_one", "_two") for n in range(3)}  # fmt: skip
        reasons = []
        for name, device in devices.items():
            world.say(name, device.tlsa(3, 0, 0))
            outcome = await world.search.find(name)
            world.refresher.remember(outcome)
            reasons.append(outcome.reason)
        found, full = Reason.INSTALLED, Reason.TOO_MANY_ANCHORS
        assert reasons == [found, found, full, found, full, full]
        await world.later(301)
        assert all(item.failures == 0 for item in world.state.names.values())
        assert len(world.held) == 3
    finally:
        world.store.close()


async def test_names_that_are_looked_after_are_bounded(tmp_path: Path) -> None:
    world = World(tmp_path, max_names=3)
    try:
        for number in range(6):
            name = f"d{number}.{DOMAIN}"
            world.say(name, self_signed(name).tlsa(3, 0, 0))
            await world.find(name)
        assert len(world.state.names) == 3
        # The anchors of displaced names are retired, so their number does not grow.
        for _ in range(9):
            await world.later(DAY)
        assert len(world.held) == 3
    finally:
        world.store.close()


async def test_one_name_installs_a_few_anchors_at_the_most(world: World) -> None:
    world.say(ONE, *(authority(f"CA {n}").tlsa(2, 0, 0) for n in range(20)))
    await world.find(ONE)
    assert len(world.held) == 4

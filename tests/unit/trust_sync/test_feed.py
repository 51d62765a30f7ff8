"""A registry's feed: what a faulty or hostile registry can say, over real TLS, and what follows from it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from dane_radius.core import AnchorSource
from tests.harness.pki import authority
from tests.harness.trust_sync import anchor_json
from tests.unit.trust_sync.feed_setting import DOMAIN, NAME, ONE, TWO, Setting, change, listed
from trust_sync.anchors import StoreError, parse_certificate
from trust_sync.feeds import FeedError, followed_feed
from trust_sync.feeds.schedule import comparison_delay, failure_delay, poll_interval
from trust_sync.registries import change_processor
from trust_sync.registries.messages import Change
from trust_sync.shared import RegistryConfig, Trigger


async def test_a_repeated_number_changes_nothing_and_what_comes_behind_it_is_heard(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    removal = change(10, "anchor.removed", None, anchor=anchor_json(ONE))
    setting.answer("/changes", {"changes": [removal, change(11)], "next": 11})
    await setting.feed.step(0)
    assert setting.held == {ONE.fingerprint}
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]
    assert setting.position.seq == 11
    # An unreadable change may have been about anything. A full comparison follows, but not after every poll.
    setting.heard.domains.clear()
    setting.now += 11
    setting.snapshot(listed(ONE), seq=11)
    await setting.feed.step(0)
    assert setting.heard.domains == [(DOMAIN, Trigger.FEED)]


async def test_a_feed_that_goes_back_leads_to_a_comparison(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    setting.answer("/changes", {"changes": [change(4)], "next": 4})
    with pytest.raises(FeedError, match="goes back"):
        await setting.feed.step(0)
    assert setting.heard.names == []
    await setting.begin(listed(TWO))
    assert setting.held == {TWO.fingerprint}


async def test_410_for_its_own_number_is_a_failure_and_no_endless_round(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    setting.answer("/changes", 410)
    await setting.feed.step(0)
    await setting.feed.step(0)
    with pytest.raises(FeedError, match="410 for 10"):
        await setting.feed.step(0)
    assert setting.held == {ONE.fingerprint}


UNREADABLE: list[Any] = [
    None, 7, "text", [], {}, {"seq": 11}, change("11"), change(True), change(-1), change(1.5), change(11, name=7),
    change(11, "anchor.added", anchor={"pem": 7}), change(11, "anchor.added", anchor="pem"),
]  # fmt: skip


@pytest.mark.parametrize("item", UNREADABLE)
async def test_a_change_that_cannot_be_read_does_not_hide_the_next_one(setting: Setting, item: Any) -> None:
    await setting.begin(listed(ONE))
    setting.answer("/changes", {"changes": [item, change(12)], "next": 12})
    await setting.feed.step(0)
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]
    assert setting.held == {ONE.fingerprint}
    setting.heard.domains.clear()
    setting.now += 11
    await setting.feed.step(0)
    assert setting.heard.domains == [(DOMAIN, Trigger.FEED)]


NONSENSE: list[Any] = [
    "", "{", "[]", "null", '{"changes": []}', '{"changes": {}, "next": 11}', '{"changes": [], "next": "11"}',
    '{"changes": [], "next": -1}', '{"changes": [], "next": 1e400}', "[" * 100_000, "\ufffe" * 10, 500, 302, 204,
]  # fmt: skip


@pytest.mark.parametrize("body", NONSENSE)
async def test_an_answer_that_makes_no_sense_is_a_failure_and_changes_nothing(setting: Setting, body: Any) -> None:
    await setting.begin(listed(ONE))
    setting.answer("/changes", body)
    with pytest.raises(FeedError):
        await setting.feed.step(0)
    assert setting.held == {ONE.fingerprint}
    assert setting.position.seq == 10
    setting.position.seq = None
    setting.answer("/snapshot", body)
    with pytest.raises(FeedError):
        await setting.feed.step(0)
    assert setting.held == {ONE.fingerprint}


BAD_ENTRIES: list[Any] = [None, {}, {"domain": DOMAIN}, {"domain": DOMAIN, "pem": 7}, {"domain": DOMAIN, "pem": "x"},
                          {**listed(TWO), "fingerprint": "00" * 32}]  # fmt: skip


@pytest.mark.parametrize("entry", BAD_ENTRIES)
async def test_a_snapshot_with_an_entry_that_cannot_be_read_takes_nothing_away(setting: Setting, entry: Any) -> None:
    await setting.begin(listed(ONE))
    setting.position.seq = None
    await setting.begin(entry, listed(TWO))
    assert setting.held == {ONE.fingerprint, TWO.fingerprint}
    assert setting.refused("not_a_certificate") == 1


async def test_a_snapshot_installs_nothing_outside_of_the_registrys_domains(setting: Setting) -> None:
    await setting.begin(listed(ONE), listed(TWO, "example.org"), listed(TWO, "net"), listed(TWO, ""))
    assert setting.held == {ONE.fingerprint}
    assert setting.refused("outside_domain") == 3
    # A foreign entry does not prevent the removal of the registry's own anchors.
    setting.position.seq = None
    await setting.begin(listed(TWO, "example.org"))
    assert setting.held == set()


async def test_the_position_moves_only_when_everybody_has_been_told(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    setting.answer("/changes", {"changes": [change(11)], "next": 11})
    setting.heard.defect = True
    with pytest.raises(RuntimeError):
        await setting.feed.step(0)
    assert setting.position.seq == 10
    setting.heard.defect = False
    await setting.feed.step(0)
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]
    assert setting.position.seq == 11


async def test_a_revocation_outweighs_what_else_an_answer_says_of_a_name(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    kinds = ["device.changed", "device.revoked", "device.restored", "device.changed"]
    setting.answer("/changes", {"changes": [change(11 + n, kind) for n, kind in enumerate(kinds)], "next": 14})
    await setting.feed.step(0)
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]


async def test_what_discovery_found_before_is_the_registrys_once_it_lists_it(setting: Setting) -> None:
    setting.store.add(parse_certificate(ONE.der), ["_device.example.net"], AnchorSource.PKIX_CD, datetime.now(UTC))
    await setting.begin(listed(ONE))
    assert setting.store.held.records[ONE.fingerprint].source is AnchorSource.REGISTRY
    setting.answer("/changes", {"changes": [change(11, "anchor.removed", None, anchor=anchor_json(ONE))], "next": 11})
    await setting.feed.step(0)
    assert setting.held == set()


async def test_a_ca_is_replaced_by_one_of_the_same_name(setting: Setting) -> None:
    successor = authority("Registry CA one")
    await setting.begin(listed(ONE))
    both = [change(11, "anchor.added", None, anchor=anchor_json(successor)),
            change(12, "anchor.removed", None, anchor=anchor_json(ONE))]  # fmt: skip
    setting.answer("/changes", {"changes": both, "next": 12})
    await setting.feed.step(0)
    setting.snapshot(listed(successor), seq=12)
    await setting.feed.step(0)
    assert setting.held == {successor.fingerprint}
    # A snapshot has the same effect.
    setting.position.seq = None
    await setting.begin(listed(ONE))
    assert setting.held == {ONE.fingerprint}


async def test_a_store_that_cannot_be_changed_does_not_hide_revocations(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await setting.begin(listed(ONE))

    def full(*_: Any) -> None:
        raise StoreError("No space left on device")

    monkeypatch.setattr(setting.store, "add", full)
    items = [change(11, "anchor.added", None, anchor=anchor_json(TWO)), change(12)]
    setting.answer("/changes", {"changes": items, "next": 12})
    with pytest.raises(StoreError):
        await setting.feed.step(0)
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]
    assert setting.position.seq == 10
    setting.position.seq = None
    setting.heard.domains.clear()
    with pytest.raises(StoreError):
        await setting.begin(listed(TWO))
    assert setting.heard.domains == [(DOMAIN, Trigger.FEED)]
    assert setting.position.seq is None
    monkeypatch.undo()
    await setting.begin(listed(ONE), listed(TWO))
    assert setting.held == {ONE.fingerprint, TWO.fingerprint}


async def test_a_registry_that_is_down_for_days_loses_nothing_and_is_compared_when_it_is_back(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    for path in ("/changes", "/snapshot"):
        setting.answer(path, 503)
    for _ in range(50):
        setting.now += 3600
        with pytest.raises(FeedError, match="503"):
            await setting.feed.step(0)
    assert setting.held == {ONE.fingerprint}
    assert setting.position.seq == 10
    await setting.begin(listed(TWO))
    assert setting.held == {TWO.fingerprint}
    assert setting.heard.domains == [(DOMAIN, Trigger.FEED)] * 2


async def test_a_registry_that_never_waits_is_not_asked_all_the_time(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two requests, the feed waits: for a second, or until another comparison is allowed."""
    await setting.begin(listed(ONE))
    monkeypatch.setattr(followed_feed.random, "uniform", lambda low, high: low)
    monkeypatch.setattr(followed_feed.time, "monotonic", lambda: 0.0)
    for body, waits in (
        ({"changes": [], "next": 10}, [1.0, 1.0, 1.0]),
        ({"changes": [change(9)], "next": 10}, [1.0, 1.0, 1.0]),
        # Status 410 makes a comparison due, which is allowed 10 s after the last one.
        (410, [10.0, 0.021, 10.0]),
    ):
        waited: list[float] = []

        async def sleep(seconds: float, waited: list[float] = waited) -> None:
            if len(waited) == 3:
                raise asyncio.CancelledError
            waited.append(seconds)

        setting.answer("/changes", body)
        setting.position.seq, setting.position.last_snapshot = 10, setting.now
        monkeypatch.setattr(followed_feed, "asyncio", SimpleNamespace(sleep=sleep))
        with pytest.raises(asyncio.CancelledError):
            await setting.feed.run()
        assert [round(seconds, 3) for seconds in waited] == waits


async def test_the_whole_is_asked_for_at_most_every_ten_seconds(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    setting.answer("/changes", 410)
    await setting.feed.step(0)
    position, now = setting.position, setting.now
    assert position.seq is None
    assert comparison_delay(position, now) == 10.0
    assert poll_interval(position, 1, now + 4) == 6.0
    position.failures = 1
    assert failure_delay(position, FeedError("malformed", "x"), 1.0, now + 4) == 6.0
    assert poll_interval(position, 1, now + 10) == 0.0
    # After the clock was set back, nothing waits for it.
    assert poll_interval(position, 1, now - 1e6) == 0.0


async def test_a_defect_in_dealing_with_one_change_does_not_stop_the_others(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await setting.begin(listed(ONE))
    read = change_processor.changed_name

    def stumble(change: Change, registry: RegistryConfig) -> tuple[str, Trigger] | None:
        if str(change.name).startswith("bad"):
            raise RuntimeError("a defect")
        return read(change, registry)

    monkeypatch.setattr(change_processor, "changed_name", stumble)
    setting.answer("/changes", {"changes": [change(11, name="bad.example.net"), change(12)], "next": 12})
    await setting.feed.step(0)
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]
    assert setting.position.seq == 12
    setting.heard.domains.clear()
    setting.now += 11
    await setting.feed.step(0)
    assert setting.heard.domains == [(DOMAIN, Trigger.FEED)]

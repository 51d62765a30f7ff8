"""A registry's feed: what a broken or hostile registry can say, over real TLS, and what it comes to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.anchors import AnchorSource
from dane_radius.config import LogConfig
from dane_radius.log import open_log
from tests.harness.pki import Authority, authority
from tests.harness.trust_sync import WebServer, anchor_json
from trust_sync.certificate import parse_certificate
from trust_sync.config import RegistryConfig
from trust_sync.feed import Changes, FeedError, RegistryFeed, read_changes
from trust_sync.metrics import Metrics
from trust_sync.standing import Trigger
from trust_sync.state import FeedPosition
from trust_sync.store import AnchorStore, StoreError

DOMAIN = "example.net"
NAME = "a1._device.example.net"
ONE, TWO = authority("Registry CA one"), authority("Registry CA two")


class Heard:
    """Who is told about names, and only writes it down."""

    def __init__(self) -> None:
        self.names: list[tuple[str, Trigger]] = []
        self.domains: list[tuple[str, Trigger]] = []

    async def changed(self, name: str, trigger: Trigger) -> None:
        self.names.append((name, trigger))

    async def domain_changed(self, domain: str, trigger: Trigger) -> None:
        self.domains.append((domain, trigger))


class Setting:
    """A feed and a registry whose answers a test chooses: text or JSON, by path; the last one stays."""

    def __init__(self, folder: Path, server: WebServer, **options: Any) -> None:
        self.server, self.heard, self.metrics = server, Heard(), Metrics(["home"])
        self.store, self.now = AnchorStore(folder / "anchors"), 1_790_000_000.0
        config = RegistryConfig(
            name="home",
            url=f"https://localhost:{server.port}",
            api_key_file=str(server.key_file),
            domains=[DOMAIN],
            ca_file=str(server.ca_file),
            **options,
        )
        log, _ = open_log(LogConfig(destination="none"))
        self.position = FeedPosition()
        self.feed = RegistryFeed(config, self.store, self.heard, self.position, self.metrics, log, lambda: self.now)

    def answer(self, path: str, *bodies: Any) -> None:
        queue = list(bodies)

        async def handle(request: web.Request) -> web.StreamResponse:
            body = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(body, int):
                return web.Response(status=body)
            return web.Response(text=body if isinstance(body, str) else json.dumps(body))

        self.server.files[path] = handle

    def snapshot(self, *anchors: Any, seq: Any = 10) -> None:
        self.answer("/snapshot", {"seq": seq, "anchors": list(anchors), "names": []})

    async def begin(self, *anchors: Any) -> None:
        self.snapshot(*anchors)
        await self.feed.step(0)

    @property
    def held(self) -> set[str]:
        return set(self.store.records)

    def refused(self, reason: str) -> float:
        value = self.metrics.registry.get_sample_value("trust_sync_anchors_refused_total", {"reason": reason})
        assert value is not None, reason
        return value


class Registry(WebServer):
    """Its interface comes from `files`, without the well-behaved one of the harness."""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix("/v1")
        self.requests.append(request.path_qs)
        handler = self.files[path]
        assert not isinstance(handler, bytes)
        return await handler(request)


@pytest_asyncio.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Setting]]:
    made: list[Setting] = []
    with Registry(tmp_path / "web", ["localhost"]) as server:

        def build(**options: Any) -> Setting:
            made.append(Setting(tmp_path, server, **options))
            return made[-1]

        yield build
        for setting in made:
            await setting.feed.close()
            setting.store.close()


@pytest.fixture
def setting(make: Callable[..., Setting]) -> Setting:
    return make()


def listed(ca: Authority, domain: str = DOMAIN) -> dict[str, Any]:
    return anchor_json(ca, domain)


def change(seq: Any, kind: str = "device.revoked", name: Any = NAME, **more: Any) -> dict[str, Any]:
    return {"seq": seq, "type": kind, "domain": DOMAIN, "name": name, "anchor": None, **more}


# numbers


def test_changes_come_in_the_order_of_their_numbers_or_not_at_all() -> None:
    items = [change(11), change(11), change(5), change(13), change(12), change(14)]
    changes, problems = read_changes(Changes(changes=items, next=14), 10)
    assert [item.seq for item in changes] == [11, 13, 14]
    assert len(problems) == 3


@pytest.mark.parametrize(("items", "following"), [([], 9), ([change(11)], 10), ([change(11)], 3)])
def test_a_feed_that_goes_back_is_not_followed(items: list[Any], following: int) -> None:
    with pytest.raises(FeedError, match=r"goes back|there is a change"):
        read_changes(Changes(changes=items, next=following), 10)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["seq", "type", "name", "domain", "anchor", "pem"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.lists(_json, max_size=5), st.integers(0, 20))
def test_any_changes_are_read_or_complained_about(items: list[Any], following: int) -> None:
    try:
        changes, problems = read_changes(Changes(changes=items, next=following), 10)
    except FeedError:
        return
    assert len(changes) + len(problems) == len(items)


async def test_a_repeated_number_changes_nothing_and_what_comes_behind_it_is_heard(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    removal = change(10, "anchor.removed", None, anchor=anchor_json(ONE))
    setting.answer("/changes", {"changes": [removal, change(11)], "next": 11})
    await setting.feed.step(0)
    assert setting.held == {ONE.fingerprint}
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]
    assert setting.position.seq == 11
    # What was not understood may have been anything: the whole is compared, but not at every turn.
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


async def test_a_registry_that_never_waits_is_not_asked_all_the_time(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    for body in ({"changes": [], "next": 10}, {"changes": [change(9)], "next": 10}, 410):
        setting.answer("/changes", body)
        setting.server.requests.clear()
        task = asyncio.create_task(setting.feed.run())
        await asyncio.sleep(1.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert 1 <= len(setting.server.requests) <= 6, setting.server.requests


# what cannot be read

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
    # Nor does that keep it from taking its own away.
    setting.position.seq = None
    await setting.begin(listed(TWO, "example.org"))
    assert setting.held == set()


async def test_more_anchors_than_a_registry_may_have_are_refused_as_a_whole(make: Callable[..., Setting]) -> None:
    setting = make(max_anchors=3)
    await setting.begin(listed(ONE))
    setting.position.seq = None
    with pytest.raises(FeedError, match="4 anchors, at most 3"):
        await setting.begin(*(listed(authority(f"Many {n}")) for n in range(4)))
    assert setting.held == {ONE.fingerprint}
    setting.position.seq = 10
    added = [change(11 + n, "anchor.added", None, anchor=anchor_json(authority(f"More {n}"))) for n in range(4)]
    setting.answer("/changes", {"changes": added, "next": 14})
    await setting.feed.step(0)
    assert len(setting.held) == 3
    assert setting.refused("too_many") == 2


async def test_an_answer_without_end_is_not_read(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    await setting.begin(listed(ONE))
    monkeypatch.setattr("trust_sync.feed.MAX_ANSWER_OCTETS", 100_000)
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 1000:
            await response.write(b" " * 10_000)
            sent += 1
        return response

    setting.server.files["/changes"] = endless
    with pytest.raises(FeedError, match="more than 100000 octets"):
        await setting.feed.step(0)
    assert sent < 1000
    assert setting.held == {ONE.fingerprint}


# anchors


async def test_what_discovery_found_before_is_the_registrys_once_it_lists_it(setting: Setting) -> None:
    setting.store.add(parse_certificate(ONE.der), ["_device.example.net"], AnchorSource.PKIX_CD, datetime.now(UTC))
    await setting.begin(listed(ONE))
    assert setting.store.records[ONE.fingerprint].source is AnchorSource.REGISTRY
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
    # The same by a snapshot alone.
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


async def test_a_defect_in_dealing_with_one_change_does_not_stop_the_others(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    await setting.begin(listed(ONE))
    changed = setting.heard.changed

    async def stumble(name: str, trigger: Trigger) -> None:
        if name.startswith("bad"):
            raise RuntimeError("a defect")
        await changed(name, trigger)

    monkeypatch.setattr(setting.heard, "changed", stumble)
    setting.answer("/changes", {"changes": [change(11, name="bad.example.net"), change(12)], "next": 12})
    await setting.feed.step(0)
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]
    assert setting.position.seq == 12
    setting.heard.domains.clear()
    setting.now += 11
    await setting.feed.step(0)
    assert setting.heard.domains == [(DOMAIN, Trigger.FEED)]

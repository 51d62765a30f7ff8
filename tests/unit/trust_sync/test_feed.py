"""A registry's feed: what a broken or hostile registry can say, over real TLS, and what it comes to."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from dane_radius.core.anchor_record import AnchorSource
from dane_radius.local.config import LogConfig
from dane_radius.local.log import open_log
from tests.harness.pki import Authority, authority
from tests.harness.trust_sync import WebServer, anchor_json
from trust_sync.certificate import parse_certificate
from trust_sync.config import RegistryConfig
from trust_sync.feed import RegistryFeed
from trust_sync.messages import Change, ChangesReader, FeedError
from trust_sync.metrics import Metrics
from trust_sync.pace import Budget
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
        self.defect = False

    async def notice(self, registry: str, names: Mapping[str, Trigger], domains: Mapping[str, Trigger]) -> None:
        assert registry == "home"
        if self.defect:
            raise RuntimeError("a defect")
        self.names += names.items()
        self.domains += domains.items()


class Setting:
    """A feed and a registry whose answers a test chooses: text or JSON, by path; the last one stays."""

    def __init__(self, folder: Path, server: WebServer, **options: Any) -> None:
        self.server, self.heard, self.metrics = server, Heard(), Metrics(["home"])
        self.store, self.now = AnchorStore(folder / "anchors"), 1_790_000_000.0
        config = RegistryConfig(
            name="home",
            url=f"https://localhost:{server.port}",
            api_key_file=str(server.key_file),
            ca_file=str(server.ca_file),
            **{"domains": [DOMAIN], **options},
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


def read_changes(items: list[Any], following: int) -> ChangesReader:
    """The answer to a poll for what comes after 10."""
    answer = ChangesReader(10)
    for item in items:
        answer.take("changes", item)
    answer.finish({"next": following}, {"changes": len(items)})
    return answer


def test_changes_come_in_the_order_of_their_numbers_or_not_at_all() -> None:
    items = [change(11), change(11), change(5), change(13), change(12), change(14)]
    answer = read_changes(items, 14)
    assert [item.seq for item in answer.changes] == [11, 13, 14]
    assert answer.problems.count == 3


@pytest.mark.parametrize(("items", "following"), [([], 9), ([change(11)], 10), ([change(11)], 3)])
def test_a_feed_that_goes_back_is_not_followed(items: list[Any], following: int) -> None:
    with pytest.raises(FeedError, match=r"goes back|there is a change"):
        read_changes(items, following)


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
        answer = read_changes(items, following)
    except FeedError:
        return
    assert len(answer.changes) + answer.problems.count == len(items)


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
    with pytest.raises(FeedError, match="4 anchors or more, at most 3"):
        await setting.begin(*(listed(authority(f"Many {n}")) for n in range(4)))
    assert setting.held == {ONE.fingerprint}
    setting.position.seq = 10
    added = [change(11 + n, "anchor.added", None, anchor=anchor_json(authority(f"More {n}"))) for n in range(4)]
    setting.answer("/changes", {"changes": added, "next": 14})
    await setting.feed.step(0)
    assert len(setting.held) == 3
    assert setting.refused("too_many") == 2


async def test_an_answer_without_end_is_not_read(make: Callable[..., Setting]) -> None:
    setting = make(max_changes_octets=100_000)
    await setting.begin(listed(ONE))
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
    with pytest.raises(FeedError, match="octets or more, at most 100000 expected"):
        await setting.feed.step(0)
    assert sent < 1000
    assert setting.held == {ONE.fingerprint}


@pytest.mark.parametrize(
    ("limits", "answer", "message"),
    [
        (
            {"max_changes": 3},
            {"changes": [change(n) for n in range(11, 15)], "next": 14},
            "4 changes or more, at most 3",
        ),
        ({"max_item_octets": 500}, {"changes": [change(11, "x" * 600)], "next": 11}, "octets or more, at most 500"),
        ({"max_changes_octets": 1024}, {"changes": [change(n) for n in range(11, 60)], "next": 60}, "at most 1024"),
    ],
)
async def test_an_answer_over_a_bound_is_refused_and_every_session_of_the_registry_is_looked_at(
    make: Callable[..., Setting], limits: dict[str, int], answer: Any, message: str
) -> None:
    """What was not read may have been a revocation."""
    setting = make(**limits)
    setting.answer("/snapshot", {"seq": 10, "anchors": [], "names": []})
    await setting.feed.step(0)
    setting.heard.domains.clear()
    setting.answer("/changes", answer)
    with pytest.raises(FeedError, match=message) as caught:
        await setting.feed.step(0)
    assert caught.value.reason == "too_large"
    assert setting.heard.names == []
    assert setting.heard.domains == [(DOMAIN, Trigger.FEED)]
    # It is not asked for again: the next step compares the whole, and goes on from there.
    setting.snapshot(seq=60)
    await setting.feed.step(0)
    assert setting.position.seq == 60


async def test_names_of_a_snapshot_are_counted_and_bounded(make: Callable[..., Setting]) -> None:
    setting = make(max_names=2)
    setting.answer("/snapshot", {"seq": 10, "anchors": [], "names": ["a", "b", "c"]})
    with pytest.raises(FeedError, match="3 names or more, at most 2 expected"):
        await setting.feed.step(0)
    setting.answer("/snapshot", {"seq": 10, "anchors": [], "names": ["a", "b"]})
    await setting.feed.step(0)
    assert setting.position.seq == 10


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "nonsense"])
async def test_a_compressed_answer_is_refused_before_it_is_read(setting: Setting, encoding: str) -> None:
    await setting.begin(listed(ONE))
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["Accept-Encoding"])
        body = gzip.compress(json.dumps({"changes": [], "next": 10}).encode())
        return web.Response(body=body, headers={"Content-Encoding": encoding})

    setting.server.files["/changes"] = handle
    with pytest.raises(FeedError, match=f"Content-Encoding '{encoding}' found"):
        await setting.feed.step(0)
    assert asked == ["identity"]


async def test_a_length_over_the_bound_is_refused_before_the_body_comes(make: Callable[..., Setting]) -> None:
    setting = make(max_changes_octets=100_000)
    await setting.begin(listed(ONE))

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100001"})
        await response.prepare(request)
        await asyncio.sleep(60)
        return response

    setting.server.files["/changes"] = handle
    async with asyncio.timeout(10):
        with pytest.raises(FeedError, match="100001 octets announced, at most 100000 expected"):
            await setting.feed.step(0)


async def test_interim_answers_without_end_are_not_read(setting: Setting) -> None:
    await setting.begin(listed(ONE))

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 20)
        return web.json_response({"changes": [], "next": 10})

    setting.server.files["/changes"] = handle
    with pytest.raises(FeedError, match="9 interim answers, at most 8 expected"):
        await setting.feed.step(0)
    setting.answer("/changes", {"changes": [], "next": 10})
    await setting.feed.step(0)


async def test_registries_that_hold_too_much_together_are_held_to_their_share(make: Callable[..., Setting]) -> None:
    setting = make()
    budget = Budget(100_000, 2)
    setting.feed._client._budget = budget
    assert budget.hold("other", 60_000)
    setting.answer("/snapshot", {"seq": 10, "anchors": [], "names": ["x" * 50] * 900})
    await setting.feed.step(0)
    setting.position.seq = None
    setting.answer("/snapshot", {"seq": 10, "anchors": [], "names": ["x" * 50] * 1200})
    with pytest.raises(FeedError, match=r"feeds\.memory"):
        await setting.feed.step(0)
    budget.release("other")
    await setting.feed.step(0)
    # What was dealt with is held no more.
    assert budget.hold("other", 100_000)


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


async def test_nonsense_fills_no_log(make: Callable[..., Setting], tmp_path: Path) -> None:
    setting = make(domains=[DOMAIN])
    log, _ = open_log(LogConfig(destination=str(tmp_path / "feed.log"), format="json"))
    setting.feed._log = log
    await setting.begin(listed(ONE))
    foreign = [change(11 + n, name=f"d{n}." + "x" * 60 + ".example.org") for n in range(3000)]
    bad = [change(3011 + n, "anchor.added", None, anchor={"pem": "x" * 5000}) for n in range(500)]
    setting.answer("/changes", {"changes": [*foreign, *bad], "next": 3510})
    await setting.feed.step(0)
    lines = (tmp_path / "feed.log").read_text().splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) < 1000
    assert [json.loads(line)["count"] for line in lines if "more of the same" in line] == [2990, 490]
    assert setting.refused("not_a_certificate") == 500


async def test_the_whole_is_asked_for_at_most_every_ten_seconds(setting: Setting) -> None:
    await setting.begin(listed(ONE))
    setting.answer("/changes", 410)
    await setting.feed.step(0)
    assert setting.position.seq is None
    assert setting.feed._pace(news=True) == 10.0
    setting.now += 4
    assert setting.feed._pace(news=True) == 6.0
    assert setting.feed._failed(FeedError("malformed", "x")) == 6.0
    setting.now += 6
    assert setting.feed._pace(news=True) == 0.0
    # The clock was set back: that is no reason to wait for it.
    setting.now -= 1e6
    assert setting.feed._pace(news=True) == 0.0


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
    note = setting.feed._note

    def stumble(change: Change, names: dict[str, Trigger], domains: dict[str, Trigger]) -> None:
        if str(change.name).startswith("bad"):
            raise RuntimeError("a defect")
        note(change, names, domains)

    monkeypatch.setattr(setting.feed, "_note", stumble)
    setting.answer("/changes", {"changes": [change(11, name="bad.example.net"), change(12)], "next": 12})
    await setting.feed.step(0)
    assert setting.heard.names == [(NAME, Trigger.REVOKED)]
    assert setting.position.seq == 12
    setting.heard.domains.clear()
    setting.now += 11
    await setting.feed.step(0)
    assert setting.heard.domains == [(DOMAIN, Trigger.FEED)]

"""The bounds of what a registry may send, over real TLS."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dane_radius.local import LogConfig, open_log
from tests.harness.pki import authority
from tests.harness.trust_sync import anchor_json
from tests.unit.trust_sync.feed_setting import DOMAIN, ONE, Setting, change, listed
from trust_sync.feeds import FeedError, MemoryBudget
from trust_sync.shared import Trigger


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
    """The unread part may contain a revocation."""
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
    # The response is not requested again. The next step makes a full comparison, and the feed continues there.
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
        await asyncio.Event().wait()
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
    with pytest.raises(FeedError, match="9 interim responses, at most 8 expected"):
        await setting.feed.step(0)
    setting.answer("/changes", {"changes": [], "next": 10})
    await setting.feed.step(0)


async def test_registries_that_hold_too_much_together_are_held_to_their_share(make: Callable[..., Setting]) -> None:
    budget = MemoryBudget(100_000, 2)
    setting = make(budget=budget)
    assert budget.hold("other", 60_000)
    setting.answer("/snapshot", {"seq": 10, "anchors": [], "names": ["x" * 50] * 900})
    await setting.feed.step(0)
    setting.position.seq = None
    setting.answer("/snapshot", {"seq": 10, "anchors": [], "names": ["x" * 50] * 1200})
    with pytest.raises(FeedError, match=r"feeds\.memory"):
        await setting.feed.step(0)
    budget.release("other")
    await setting.feed.step(0)
    # A processed response is no longer held.
    assert budget.hold("other", 100_000)


async def test_nonsense_fills_no_log(make: Callable[..., Setting], tmp_path: Path) -> None:
    log, _ = open_log(LogConfig(destination=str(tmp_path / "feed.log"), format="json"))
    setting = make(log=log)
    await setting.begin(listed(ONE))
    foreign = [change(11 + n, name=f"d{n}." + "x" * 60 + ".example.org") for n in range(3000)]
    bad = [change(3011 + n, "anchor.added", None, anchor={"pem": "x" * 5000}) for n in range(500)]
    setting.answer("/changes", {"changes": [*foreign, *bad], "next": 3510})
    await setting.feed.step(0)
    lines = (tmp_path / "feed.log").read_text().splitlines()
    assert len(lines) < 40
    assert max(map(len, lines)) < 1000
    assert [json.loads(line)["count"] for line in lines if "further lines" in line] == [2990, 490]
    assert setting.refused("not_a_certificate") == 500

"""The change feed over HTTP: long poll, or server-sent events (WHATWG HTML section 9.2)."""

from __future__ import annotations

import asyncio
import json
from functools import partial

from aiohttp import web
from sqlalchemy.orm import Session

from iot_registry import feed, metrics
from iot_registry.errors import Reason, Refused
from iot_registry.service.access import Principal, Scope, authenticate
from iot_registry.web.context import CONTEXT, Context, api_key, integer, now, principal, query

MAX_WAIT_SECONDS = 60
MAX_SEQ = 2**53 - 1


async def changes(request: web.Request) -> web.StreamResponse:
    context, key = request.app[CONTEXT], api_key(request)
    who = await principal(request)
    who.require(Scope.FEED_READ)
    parameters = query(request, {"since", "wait"})
    since = integer(parameters, "since", 0, 0, MAX_SEQ)
    if "text/event-stream" in request.headers.get("Accept", ""):
        return await _stream(request, context, key, _resume(request, since))
    wait = integer(parameters, "wait", 0, 0, MAX_WAIT_SECONDS)
    with metrics.FEED_CONSUMERS.track_inprogress():
        batch = await _next(context, key, since, wait)
    return web.json_response({"changes": batch.changes, "next": batch.next}, headers={"Cache-Control": "no-store"})


def _resume(request: web.Request, since: int) -> int:
    """An event source that reconnects by itself says where it was in this header, and is right about it."""
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return since
    if not text.isascii() or not text.isdigit() or int(text[:18]) > MAX_SEQ or len(text) > 16:
        raise Refused(Reason.INVALID_FIELD, f"found {text[:40]!r}, expected a number", field="Last-Event-ID")
    return int(text)


def _look(session: Session, key: str, since: int) -> tuple[Principal, feed.Batch]:
    """The changes after `since`, and whose they are: a key that was revoked or has expired gets no more of them."""
    who = authenticate(session, key, now())
    who.require(Scope.FEED_READ)
    return who, feed.read_since(session, since, who.domain_id)


async def _next(context: Context, key: str, since: int, wait: float) -> feed.Batch:
    """The changes after `since`; if there are none, those that come within `wait` seconds. Raises Refused, as soon as
    the key is worth nothing any more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        ticket = context.watch.ticket()
        who, batch = await context.read(partial(_look, key=key, since=since))
        left = deadline - loop.time()
        if batch.changes or left <= 0 or context.stopping.is_set():
            return batch
        # Another domain's changes move the number too: do not read them again.
        since = batch.next
        if who.expires_at is not None:
            left = min(left, max(0.0, (who.expires_at - now()).total_seconds()))
        await context.watch.wait(ticket, left)


async def _stream(request: web.Request, context: Context, key: str, since: int) -> web.StreamResponse:
    # The first look happens before the answer starts: a number that is gone is a plain 410.
    batch = await _next(context, key, since, 0)
    heartbeat = context.settings.feed.heartbeat_seconds
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await answer.prepare(request)
    with metrics.FEED_CONSUMERS.track_inprogress():
        try:
            while not context.stopping.is_set():
                await answer.write(_events(batch) or b": heartbeat\n\n")
                batch = await _next(context, key, batch.next, 0 if batch.more else heartbeat)
        except (ConnectionError, Refused):
            # Gone, or no longer entitled, or too slow for the retention: it comes back and is told.
            return answer
    return answer


def _events(batch: feed.Batch) -> bytes:
    lines = [
        f"id: {change['seq']}\nevent: {change['type']}\ndata: {json.dumps(change, separators=(',', ':'))}\n\n"
        for change in batch.changes
    ]
    return "".join(lines).encode()


async def snapshot(request: web.Request) -> web.Response:
    who = await principal(request)
    who.require(Scope.FEED_READ)
    query(request, set())
    data = await request.app[CONTEXT].read(lambda s: feed.snapshot(s, who.domain_id))
    return web.json_response(data, headers={"Cache-Control": "no-store"})


def add_routes(app: web.Application) -> None:
    app.router.add_get("/v1/changes", changes, allow_head=False)
    app.router.add_get("/v1/snapshot", snapshot, allow_head=False)

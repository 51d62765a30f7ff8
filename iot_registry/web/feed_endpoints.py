"""The change feed over HTTP: snapshot, long poll, and server-sent events (WHATWG HTML section 9.2)."""

from __future__ import annotations

import asyncio
import json
from functools import partial

from aiohttp import web
from sqlalchemy.orm import Session

from iot_registry.core.errors import Reason, Refused
from iot_registry.local import metrics
from iot_registry.local.clock import utc_now
from iot_registry.service.access import Principal, Scope
from iot_registry.service.api_keys import authenticate
from iot_registry.store import change_feed
from iot_registry.web.call import Call
from iot_registry.web.context import Context
from iot_registry.web.request_reading import api_key

# The largest integer that JSON readers take exactly (RFC 8259 section 6).
MAX_SEQ = 2**53 - 1


async def changes(call: Call) -> web.StreamResponse:
    key, since = api_key(call.request), call.integer("since")
    if "text/event-stream" in call.request.headers.get("Accept", ""):
        return await _stream(call, key, _last_event_id(call.request, since))
    wait = call.integer("wait")
    with metrics.FEED_CONSUMERS.track_inprogress():
        batch = await _next(call.context, key, since, wait)
    return web.json_response({"changes": batch.changes, "next": batch.next}, headers={"Cache-Control": "no-store"})


async def snapshot(call: Call) -> web.Response:
    call.query()
    data = await call.context.read(lambda s: change_feed.snapshot(s, call.who.domain_id))
    return web.json_response(data, headers={"Cache-Control": "no-store"})


def _last_event_id(request: web.Request, since: int) -> int:
    """The number to continue from. A reconnecting event source sends it in a field, which overrides `since`."""
    text = request.headers.get("Last-Event-ID")
    if text is None:
        return since
    if not text.isascii() or not text.isdigit() or int(text[:18]) > MAX_SEQ or len(text) > 16:
        raise Refused(
            Reason.INVALID_FIELD, f"found {text[:40]!r}, expected the number of an event", field="Last-Event-ID"
        )
    return int(text)


def _read_batch(session: Session, key: str, since: int) -> tuple[Principal, change_feed.Batch]:
    """The events after `since`, and whose key this is. A key that is revoked or expired meanwhile gets no more."""
    who = authenticate(session, key, utc_now())
    who.require(Scope.FEED_READ)
    return who, change_feed.read_since(session, since, who.domain_id)


async def _next(context: Context, key: str, since: int, wait: float) -> change_feed.Batch:
    """The events after `since`; if there are none, those that come within `wait` seconds.

    Raises Refused, also as soon as the key is revoked or expires.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        ticket = context.watch.ticket()
        who, batch = await context.read(partial(_read_batch, key=key, since=since))
        left = deadline - loop.time()
        if batch.changes or left <= 0 or context.stopping.is_set():
            return batch
        # Events of other domains advance the number, too; they need not be read again.
        since = batch.next
        if who.expires_at is not None:
            left = min(left, max(0.0, (who.expires_at - utc_now()).total_seconds()))
        await ticket.wait(left)


async def _stream(call: Call, key: str, since: int) -> web.StreamResponse:
    context = call.context
    # The first batch is read before the answer starts, so that a deleted number is answered 410.
    batch = await _next(context, key, since, 0)
    heartbeat = context.settings.feed.heartbeat_seconds
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await answer.prepare(call.request)
    with metrics.FEED_CONSUMERS.track_inprogress():
        try:
            while not context.stopping.is_set():
                await answer.write(_events(batch) or b": heartbeat\n\n")
                batch = await _next(context, key, batch.next, 0 if batch.more else heartbeat)
        except (ConnectionError, Refused):
            # The client is gone, or its key is no longer valid, or it is too slow for the retention. It reconnects, and
            # a refusal is answered then.
            return answer
    return answer


def _events(batch: change_feed.Batch) -> bytes:
    lines = [
        f"id: {change['seq']}\nevent: {change['type']}\ndata: {json.dumps(change, separators=(',', ':'))}\n\n"
        for change in batch.changes
    ]
    return "".join(lines).encode()

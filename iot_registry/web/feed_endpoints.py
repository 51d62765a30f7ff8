"""The change feed over HTTP: snapshot, long poll, and server-sent events (WHATWG HTML section 9.2)."""

from __future__ import annotations

import datetime as dt
import json

from aiohttp import web
from sqlalchemy.orm import Session

from iot_registry.local import metrics
from iot_registry.service.access import Principal, Scope
from iot_registry.service.api_keys import KEYS, authenticate
from iot_registry.store import change_feed
from iot_registry.web.call import Call
from iot_registry.web.context import Context
from web_service.core import Reason, Refused
from web_service.local import utc_now
from web_service.web import api_key, next_batch

# The largest integer that JSON readers take exactly (RFC 8259 section 6).
MAX_SEQ = 2**53 - 1


async def changes(call: Call) -> web.StreamResponse:
    key, since = api_key(call.request, KEYS), call.integer("since")
    if "text/event-stream" in call.request.headers.get("Accept", ""):
        return await _stream(call, key, _last_event_id(call.request, since))
    wait = call.integer("wait")
    with metrics.SERVICE.feed_consumers.track_inprogress():
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
    """The events after `since`; if there are none, those that come within `wait` seconds. Raises Refused."""

    def read(session: Session, after: int) -> tuple[dt.datetime | None, change_feed.Batch]:
        who, batch = _read_batch(session, key, after)
        return who.expires_at, batch

    return await next_batch(context, read, since, wait)


async def _stream(call: Call, key: str, since: int) -> web.StreamResponse:
    context = call.context
    # The first batch is read before the answer starts, so that a deleted number is answered 410.
    batch = await _next(context, key, since, 0)
    heartbeat = context.settings.feed.heartbeat_seconds
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await answer.prepare(call.request)
    with metrics.SERVICE.feed_consumers.track_inprogress():
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

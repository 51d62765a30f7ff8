"""The change feed over HTTP: snapshot and long poll."""

from __future__ import annotations

import datetime as dt

from aiohttp import web
from sqlalchemy.orm import Session

from operations.local import metrics
from operations.service.access import Scope
from operations.service.api_keys import KEYS, authenticate
from operations.store import change_feed
from operations.web.call import Call
from web_service.local import utc_now
from web_service.web import api_key, next_batch

# The largest integer that JSON readers take exactly (RFC 8259 section 6).
MAX_SEQ = 2**53 - 1


async def changes(call: Call) -> web.Response:
    """Changes after `since`, once there are some, or after `wait` seconds."""
    key, since, wait = api_key(call.request, KEYS), call.integer("since"), call.integer("wait")

    def read(session: Session, after: int) -> tuple[dt.datetime | None, change_feed.Batch]:
        # Authenticated for each read: a key that is revoked meanwhile gets no more.
        who = authenticate(session, key, utc_now())
        who.require(Scope.FEED_READ)
        return who.expires_at, change_feed.read_since(session, after)

    with metrics.SERVICE.feed_consumers.track_inprogress():
        batch = await next_batch(call.context, read, since, wait)
    data = {"origin": batch.origin, "changes": batch.changes, "next": batch.next}
    return web.json_response(data, headers={"Cache-Control": "no-store"})


async def snapshot(call: Call) -> web.Response:
    call.query()
    body = await call.context.read(change_feed.snapshot)
    return web.Response(
        body=body, content_type="application/json", charset="utf-8", headers={"Cache-Control": "no-store"}
    )

"""Health, metrics and the OpenAPI document."""

from __future__ import annotations

import time

import prometheus_client
from aiohttp import web
from sqlalchemy import text

from operations.local import metrics
from operations.service import status
from operations.service.schemas import StatusView
from operations.store import change_feed
from operations.web.call import Call
from web_service.web import DOCUMENT


async def health(call: Call) -> web.Response:
    """200 while requests can be served. `policy`: warn: the file is invalid, and the last valid one is in force."""
    policy = "warn" if call.context.policy.error else "pass"
    try:
        await call.context.read(lambda s: s.execute(text("SELECT 1")).scalar())
    except Exception:
        return web.json_response({"status": "fail", "database": "fail", "policy": policy}, status=503)
    return web.json_response({"status": policy, "database": "pass", "policy": policy})


async def prometheus(call: Call) -> web.Response:
    """The metrics. Those of this process are served without the database, too, because they are needed then."""
    counts = call.context.counts
    try:
        if counts.due(time.monotonic()):
            _set_gauges(await call.context.read(lambda s: status.status(s, None)))
        else:
            metrics.SERVICE.feed_seq.set(await call.context.read(change_feed.last_seq))
    except Exception:
        metrics.SERVICE.database_up.set(0)
    else:
        metrics.SERVICE.database_up.set(1)
    return web.Response(
        body=prometheus_client.generate_latest(metrics.REGISTRY),
        headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST},
    )


def _set_gauges(view: StatusView) -> None:
    metrics.SERVICE.feed_seq.set(view.feed_sequence)
    metrics.QUESTIONS.set(view.open_questions)
    metrics.SESSIONS.set(view.sessions)
    for standing, count in view.devices.items():
        metrics.DEVICES.labels(standing).set(count)
    for proven, count in view.inventory.items():
        metrics.INVENTORY.labels(proven).set(count)


async def openapi_document(call: Call) -> web.Response:
    return web.json_response(call.request.app[DOCUMENT])

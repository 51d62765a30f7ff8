"""What RADIUS nodes report over HTTP. Both handlers raise Refused."""

from __future__ import annotations

import asyncio
from functools import partial

from operations.core.decisions import parse_batch
from operations.core.intake import parts_of
from operations.service import node_reports, schemas
from operations.web.call import Call
from web_service.core import Reason, Refused
from web_service.local import utc_now

NDJSON = "application/x-ndjson"
# Octets of a report. A line of the decision log has at most 4,096, and usually a tenth of that.
MAX_REPORT = 1024 * 1024


async def take_decisions(call: Call) -> schemas.Taken:
    """A batch of decision log lines, as they are."""
    node = node_reports.check_node(call.path("node"))
    call.who.require_node(node)
    batch_id = node_reports.check_batch_id(call.request.headers.get("Batch-Id"))
    if call.request.content_type != NDJSON:
        raise Refused(Reason.BAD_MEDIA_TYPE, f"found {call.request.content_type[:80]}, expected {NDJSON}")
    lines = [line for line in (await call.raw_body()).split(b"\n") if line.strip()]
    if len(lines) > node_reports.MAX_LINES:
        raise Refused(
            Reason.TOO_LARGE, f"found {len(lines)} lines, expected at most {node_reports.MAX_LINES}: send more batches"
        )
    now = utc_now()
    parts = await asyncio.to_thread(lambda: parts_of(parse_batch(lines, now)))
    results = []
    for number, part in enumerate(parts):
        # If a part fails, the node sends the batch again, and the parts before it are recognized.
        take = partial(
            node_reports.take_decisions,
            who=call.who,
            node=node,
            batch_id=f"{batch_id}#{number}",
            batch=part,
            parts=call.context.intake,
            now=now,
        )
        results.append(await call.context.write(take))
    call.context.watch.check_now()
    return schemas.Taken(taken=sum(r.taken for r in results), skipped=sum(r.skipped for r in results))


async def take_sessions(call: Call, report: schemas.SessionsReport) -> schemas.Taken:
    """All live sessions of a node."""
    node = node_reports.check_node(call.path("node"))
    return await call.context.write(lambda s: node_reports.take_sessions(s, call.who, node, report, utc_now()))

"""Public data: CA certificates (PKIX-CD), provisioning data, health, metrics, the OpenAPI document."""

from __future__ import annotations

import prometheus_client
from aiohttp import web
from sqlalchemy import text

from iot_registry.local import metrics
from iot_registry.service import authorities, domains, status
from iot_registry.service.schemas import StatusView
from iot_registry.web.call import Call
from web_service.local import utc_now
from web_service.web import DOCUMENT


async def ca_certificate(call: Call) -> web.Response:
    """`/.well-known/ca/<AKI>.pem`: exactly one CA certificate (draft-wilson-dane-pkix-cd section 3.5)."""
    aki = call.path("aki")
    row = await call.context.read(lambda s: authorities.by_key_identifier(s, aki))
    return web.Response(text=row.pem, content_type="application/x-pem-file", headers={"Cache-Control": "max-age=300"})


async def provisioning(call: Call) -> web.Response:
    context, name = call.context, call.path("domain")
    data = await context.read(
        lambda s: domains.provisioning(
            s,
            context.store,
            context.settings,
            domains.find_domain(s, call.who, name),
            context.server_anchor_pem,
        )
    )
    return web.json_response(text=data.model_dump_json())


async def health(call: Call) -> web.Response:
    """200 while requests can be served. `dns`: whether publication works; if not, changes wait in the outbox."""
    try:
        await call.context.read(lambda s: s.execute(text("SELECT 1")).scalar())
    except Exception:
        return web.json_response({"status": "fail", "database": "fail"}, status=503)
    dns = "pass" if call.context.publisher.healthy else "fail"
    return web.json_response({"status": "pass" if dns == "pass" else "warn", "database": "pass", "dns": dns})


async def prometheus(call: Call) -> web.Response:
    """The metrics. Those of this process are served without the database, too, because they are needed then."""
    context = call.context
    try:
        view = await context.read(lambda s: status.status(s, None, context.settings.ca.device_days, utc_now()))
    except Exception:
        metrics.SERVICE.database_up.set(0)
    else:
        metrics.SERVICE.database_up.set(1)
        _set_gauges(view)
    return web.Response(
        body=prometheus_client.generate_latest(metrics.REGISTRY),
        headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST},
    )


def _set_gauges(view: StatusView) -> None:
    metrics.OUTBOX_PENDING.set(view.outbox_pending)
    metrics.OUTBOX_OLDEST_SECONDS.set(view.outbox_oldest_seconds)
    metrics.SERVICE.feed_seq.set(view.feed_sequence)
    ends = [authority.not_after for authority in view.authorities if authority.issuing]
    metrics.CA_EXPIRY_SECONDS.set(min((end - utc_now()).total_seconds() for end in ends) if ends else 0)
    for state, count in view.devices.items():
        metrics.DEVICES.labels(state).set(count)


async def openapi_document(call: Call) -> web.Response:
    return web.json_response(call.request.app[DOCUMENT])

"""What anyone may read: CA certificates (PKIX-CD), provisioning data, health, metrics."""

from __future__ import annotations

import prometheus_client
from aiohttp import web
from sqlalchemy import text

from iot_registry import metrics
from iot_registry.service import authorities, domains, status
from iot_registry.service.access import Principal, Scope
from iot_registry.service.schemas import StatusView
from iot_registry.web.context import CONTEXT, now

_ANYONE = Principal("public", frozenset({Scope.DOMAIN_READ}))


async def authority(request: web.Request) -> web.Response:
    """`/.well-known/ca/<AKI>.pem`: exactly one CA certificate (draft-wilson-dane-pkix-cd section 3.5)."""
    aki = request.match_info["aki"]
    row = await request.app[CONTEXT].read(lambda s: authorities.by_key_identifier(s, aki))
    return web.Response(text=row.pem, content_type="application/x-pem-file", headers={"Cache-Control": "max-age=300"})


async def provisioning(request: web.Request) -> web.Response:
    context = request.app[CONTEXT]
    name = request.match_info["domain"]
    data = await context.read(
        lambda s: domains.provisioning(
            s,
            context.store,
            context.settings,
            domains.find_domain(s, _ANYONE, name),
            context.server_anchor_pem,
        )
    )
    return web.json_response(text=data.model_dump_json())


async def health(request: web.Request) -> web.Response:
    """200 while requests can be served. `dns` tells whether publication works: the outbox waits for it."""
    context = request.app[CONTEXT]
    try:
        await context.read(lambda s: s.execute(text("SELECT 1")).scalar())
    except Exception:
        return web.json_response({"status": "fail", "database": "fail"}, status=503)
    dns = "pass" if context.publisher.healthy else "fail"
    return web.json_response({"status": "pass" if dns == "pass" else "warn", "database": "pass", "dns": dns})


async def prometheus(request: web.Request) -> web.Response:
    """The metrics. Without the database, those that are counted in this process: it is then that they are wanted."""
    context = request.app[CONTEXT]
    try:
        view = await context.read(lambda s: status.status(s, None, context.settings.ca.device_days, now()))
    except Exception:
        metrics.DATABASE_UP.set(0)
    else:
        metrics.DATABASE_UP.set(1)
        _show(view)
    return web.Response(
        body=prometheus_client.generate_latest(metrics.REGISTRY),
        headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST},
    )


def _show(view: StatusView) -> None:
    metrics.OUTBOX_PENDING.set(view.outbox_pending)
    metrics.OUTBOX_OLDEST_SECONDS.set(view.outbox_oldest_seconds)
    metrics.FEED_SEQ.set(view.feed_sequence)
    ends = [authority.not_after for authority in view.authorities if authority.issuing]
    metrics.CA_EXPIRY_SECONDS.set(min((end - now()).total_seconds() for end in ends) if ends else 0)
    for state, count in view.devices.items():
        metrics.DEVICES.labels(state).set(count)


def add_routes(app: web.Application) -> None:
    app.router.add_get("/.well-known/ca/{aki}.pem", authority)
    app.router.add_get("/v1/domains/{domain}/provisioning", provisioning)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", prometheus)

"""The aiohttp application: the routes of the table over a context."""

from __future__ import annotations

from aiohttp import web

from iot_registry.local import metrics
from iot_registry.web.call import principal
from iot_registry.web.context import Context
from iot_registry.web.openapi import document
from iot_registry.web.route_table import ROUTES
from web_service.web import Gate, web_application


def endpoint_kind(request: web.Request) -> str:
    """The kind of endpoint, from a closed set; a label of metrics."""
    path = request.path
    if path.startswith("/.well-known/est"):
        return "est"
    if path.startswith("/.well-known/ca"):
        return "pkix-cd"
    if path in ("/v1/changes", "/v1/snapshot"):
        return "feed"
    return "api" if path.startswith("/v1/") else "other"


def _challenge(kind: str) -> str:
    return 'Basic realm="enrollment"' if kind == "est" else "Bearer"


def application(context: Context) -> web.Application:
    """The application that serves every route of the table."""
    gate = Gate(metrics.FACE, principal, endpoint_kind, _challenge)
    return web_application(ROUTES, context, gate, document(ROUTES))

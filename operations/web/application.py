"""The aiohttp application: the routes of the table over a context."""

from __future__ import annotations

from aiohttp import web

from operations.local import metrics
from operations.web import scim_endpoints
from operations.web.call import principal
from operations.web.context import Context
from operations.web.openapi import document
from operations.web.route_table import ROUTES
from web_service.core import Refused
from web_service.https import problem_response
from web_service.web import Gate, web_application


def endpoint_kind(request: web.Request) -> str:
    """The kind of endpoint, from a closed set; a label of metrics."""
    path = request.path
    if path in ("/v1/changes", "/v1/snapshot"):
        return "feed"
    if path.startswith("/v1/nodes/"):
        return "node"
    if path.startswith("/scim/"):
        return "scim"
    return "api" if path.startswith("/v1/") else "other"


def refusal(request: web.Request, refused: Refused) -> web.Response:
    """The answer that tells a client of a refusal: as SCIM has it, or a problem body."""
    if endpoint_kind(request) == "scim":
        return scim_endpoints.error(refused)
    return problem_response(metrics.FACE.name, refused)


def application(context: Context) -> web.Application:
    """The application that serves every route of the table."""
    gate = Gate(metrics.FACE, principal, endpoint_kind, refusal=refusal)
    return web_application(ROUTES, context, gate, document(ROUTES))

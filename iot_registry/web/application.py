"""The aiohttp application: the routes of the table over a context."""

from __future__ import annotations

import json

from aiohttp import web

from iot_registry.https import http_connection
from iot_registry.web import middleware, openapi
from iot_registry.web.call import aiohttp_handler
from iot_registry.web.context import CONTEXT, Context
from iot_registry.web.request_reading import MAX_BODY
from iot_registry.web.route_table import ROUTES


def application(context: Context) -> web.Application:
    """The application that serves every route of the table."""
    app = web.Application(middlewares=[http_connection.track_request, middleware.middleware], client_max_size=MAX_BODY)
    app[CONTEXT] = context
    # As JSON has it, without Python's enumerations.
    app[openapi.DOCUMENT] = json.loads(json.dumps(openapi.document(ROUTES)))
    app.on_response_prepare.append(_remove_server_field)
    for route in ROUTES:
        for method in route.methods:
            app.router.add_route(method, route.path, aiohttp_handler(route))
    return app


async def _remove_server_field(_request: web.Request, response: web.StreamResponse) -> None:
    # It would tell the libraries in use.
    response.headers.popall("Server", None)

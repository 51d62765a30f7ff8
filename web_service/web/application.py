"""The aiohttp application: the routes of a table over a context."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

from web_service.core import Principal, Refused
from web_service.https import ServiceFace, problem_response, track_request
from web_service.web.call import Call
from web_service.web.context import WebContext
from web_service.web.middleware import error_middleware
from web_service.web.openapi import DOCUMENT
from web_service.web.route import Json, Route

Context = TypeVar("Context", bound=WebContext)
Who = TypeVar("Who", bound=Principal)


@dataclass(frozen=True)
class Gate(Generic[Context, Who]):
    """What stands between a request and the handler of its route.

    principal: authenticates the caller as the route demands; raises Refused. endpoint_kind: a label of metrics, from a
    closed set; "feed" is not measured. challenge: WWW-Authenticate of a refusal, by kind of endpoint. refusal: the
    answer that tells a client of a refusal; None: a problem body.
    """

    face: ServiceFace
    principal: Callable[[Context, web.Request, Route], Awaitable[Who]]
    endpoint_kind: Callable[[web.Request], str]
    challenge: Callable[[str], str] = lambda _kind: "Bearer"
    refusal: Callable[[web.Request, Refused], web.Response] | None = None

    def refuse(self, request: web.Request, refused: Refused) -> web.Response:
        if self.refusal is not None:
            return self.refusal(request, refused)
        return problem_response(self.face.name, refused)


def web_application(
    routes: Iterable[Route], context: Context, gate: Gate[Context, Who], document: Json
) -> web.Application:
    """The application that serves these routes. document: their OpenAPI document."""
    errors = error_middleware(gate.face, gate.endpoint_kind, gate.challenge, gate.refuse)
    app = web.Application(middlewares=[track_request, errors])
    # As JSON has it, without Python's enumerations.
    app[DOCUMENT] = json.loads(json.dumps(document))
    app.on_response_prepare.append(_remove_server_field)
    for route in routes:
        for method in route.methods:
            app.router.add_route(method, route.path, _handler(route, context, gate))
    return app


def _handler(route: Route, context: Context, gate: Gate[Context, Who]) -> Handler:
    """The handler of a route: authentication, then the body, then the route's own handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        call = Call(request, route, context, await gate.principal(context, request, route))
        if isinstance(route.request, type):
            answer = await route.handler(call, await call.json_body(route.request))
        else:
            answer = await route.handler(call)
        if isinstance(answer, web.StreamResponse):
            return answer
        headers = {"Cache-Control": "no-store"}
        return web.json_response(text=answer.model_dump_json(), status=route.status, headers=headers)

    return handle


async def _remove_server_field(_request: web.Request, response: web.StreamResponse) -> None:
    # It would tell the libraries in use.
    response.headers.popall("Server", None)

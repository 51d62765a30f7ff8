"""A call of a route: who calls, with which parameters; and the aiohttp handler that every route gets."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler

from iot_registry.local.clock import utc_now
from iot_registry.service.access import ANYONE, Principal, Scope
from iot_registry.service.api_keys import authenticate
from iot_registry.web import request_reading
from iot_registry.web.context import CONTEXT, Context
from iot_registry.web.route import Route


@dataclass(frozen=True)
class Call:
    """One request, as a handler gets it. who: holds the route's scope; ANYONE: the route takes no API key."""

    request: web.Request
    route: Route
    context: Context
    who: Principal

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return self.request.match_info[name]

    def query(self) -> dict[str, str]:
        """The query's parameters, which must be those of the route. Raises Refused."""
        return request_reading.query_parameters(self.request, [parameter.name for parameter in self.route.query])

    def integer(self, name: str) -> int:
        """An integer parameter of the query, within the bounds of the route. Raises Refused."""
        parameter = next(parameter for parameter in self.route.query if parameter.name == name)
        low, high = parameter.schema["minimum"], parameter.schema["maximum"]
        return request_reading.bounded_integer(name, self.query().get(name), parameter.default, low, high)


async def _principal(request: web.Request, context: Context, route: Route) -> Principal:
    """The caller, authenticated by API key if the route needs one. Raises Refused.

    Attempts are not limited in rate: a key has 256 random bits, and a limit by address would let anyone behind the same
    address or proxy lock an administrator out.
    """
    if not isinstance(route.credential, Scope):
        return ANYONE
    key = request_reading.api_key(request)
    who = await context.read(lambda session: authenticate(session, key, utc_now()))
    who.require(route.credential)
    return who


def aiohttp_handler(route: Route) -> Handler:
    """The handler of a route: authentication, then the body, then the route's own handler."""

    async def handle(request: web.Request) -> web.StreamResponse:
        context = request.app[CONTEXT]
        call = Call(request, route, context, await _principal(request, context, route))
        if isinstance(route.request, type):
            answer = await route.handler(call, await request_reading.json_body(request, route.request))
        else:
            answer = await route.handler(call)
        if isinstance(answer, web.StreamResponse):
            return answer
        headers = {"Cache-Control": "no-store"}
        return web.json_response(text=answer.model_dump_json(), status=route.status, headers=headers)

    return handle

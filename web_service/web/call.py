"""A call of a route: who calls, with which parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web

from web_service.core import Principal, RequestBody, validate
from web_service.web import request_reading
from web_service.web.context import WebContext
from web_service.web.route import Route

Context = TypeVar("Context", bound=WebContext)
Who = TypeVar("Who", bound=Principal)
Body = TypeVar("Body", bound=RequestBody)


@dataclass(frozen=True)
class Call(Generic[Context, Who]):
    """One request, as a handler gets it. who: holds the route's scope, if the route has one."""

    request: web.Request
    route: Route
    context: Context
    who: Who

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return self.request.match_info[name]

    def query(self) -> dict[str, str]:
        """The query's parameters, which must be those of the route. Raises Refused."""
        lengths = {
            parameter.name: parameter.schema.get("maxLength", request_reading.MAX_PARAMETER)
            for parameter in self.route.query
        }
        return request_reading.query_parameters(self.request, lengths)

    def integer(self, name: str) -> int:
        """An integer parameter of the query, within the bounds of the route. Raises Refused."""
        parameter = next(parameter for parameter in self.route.query if parameter.name == name)
        low, high = parameter.schema["minimum"], parameter.schema["maximum"]
        return request_reading.bounded_integer(name, self.query().get(name), parameter.default, low, high)

    async def raw_body(self) -> bytes:
        """The body, if it arrives in time and is within the route's bound. Raises Refused."""
        return await request_reading.raw_body(self.request, self.context.body_seconds, self.route.max_body)

    async def json_data(self, *media_types: str) -> Any:
        """The JSON body, of one of these media types. Raises Refused."""
        expected = media_types or request_reading.JSON_MEDIA_TYPES
        return await request_reading.json_data(self.request, self.context.body_seconds, self.route.max_body, expected)

    async def json_body(self, model: type[Body]) -> Body:
        """The JSON body as `model`. A refusal names the field at fault. Raises Refused."""
        return validate(model, await self.json_data())

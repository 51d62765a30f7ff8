"""A route: one row of the table from which the application and the OpenAPI document are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import web

from web_service.core import RequestBody, ResponseBody, ScopeName

Json = dict[str, Any]
# Octets of a request body. Most have some hundred.
MAX_BODY = 64 * 1024
# Called with a `Call` and, if the route has a JSON request body, with that body.
RouteHandler = Callable[..., Awaitable[ResponseBody | web.StreamResponse]]


class Credential(StrEnum):
    """What a caller presents instead of an API key. The handlers of these routes check it themselves."""

    # Nothing: the data is public.
    NONE = "none"
    # A name and a one-time token, by HTTP Basic authentication (RFC 7617).
    TOKEN = "token"  # noqa: S105 - a kind of credential
    # A certificate, by TLS client authentication.
    CERTIFICATE = "certificate"


@dataclass(frozen=True)
class Content:
    """A body that is not described by a model, or is sent as another media type. schema: JSON schema."""

    media_type: str
    schema: Json | type[ResponseBody] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True)
class QueryParameter:
    """schema: JSON schema of the value. default: of an integer, if it is not given."""

    name: str
    schema: Json
    default: int = 0


@dataclass(frozen=True)
class OtherAnswer:
    """A successful or failed answer that is neither the usual one nor a problem body."""

    description: str
    content: Content


@dataclass(frozen=True)
class Route:
    """One operation.

    path: with parameters in braces. credential: the scope that the API key must have, or another kind of credential.
    request: model of the JSON body, other content, or None: no body. answer, status: body and status of success.
    errors: statuses of refusals beside those that follow from the other fields. others: further answers, by status.
    stream: media type of the success if the client asks for a stream by Accept; None: it cannot.
    max_body: octets of the request body. refusal: the body of refusals; None: problem details.
    head: whether HEAD is answered as GET without the body (RFC 9110 section 9.3.2).
    """

    method: str
    path: str
    credential: ScopeName | Credential
    handler: RouteHandler
    summary: str
    answer: type[ResponseBody] | Content
    status: int = 200
    request: type[RequestBody] | Content | None = None
    query: tuple[QueryParameter, ...] = ()
    errors: tuple[int, ...] = ()
    others: Mapping[int, OtherAnswer] = field(default_factory=dict)
    stream: str | None = None
    head: bool = True
    max_body: int = MAX_BODY
    refusal: Content | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods that the application answers."""
        return ("GET", "HEAD") if self.method == "GET" and self.head else (self.method,)


def integer(name: str, low: int, high: int, default: int = 0) -> QueryParameter:
    """An integer parameter from `low` to `high`."""
    return QueryParameter(name, {"type": "integer", "minimum": low, "maximum": high}, default)

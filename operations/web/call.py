"""A call of a route, and who makes it."""

from __future__ import annotations

from typing import TypeAlias

from aiohttp import web

import web_service.web
from operations.service.access import ANYONE, Principal, Scope
from operations.service.api_keys import KEYS, authenticate
from operations.web.context import Context
from web_service.local import utc_now

Call: TypeAlias = web_service.web.Call[Context, Principal]


async def principal(context: Context, request: web.Request, route: web_service.web.Route) -> Principal:
    """The caller, authenticated by API key if the route needs one. Raises Refused."""
    if not isinstance(route.credential, Scope):
        return ANYONE
    key = web_service.web.api_key(request, KEYS)
    who = await context.read(lambda session: authenticate(session, key, utc_now()))
    who.require(route.credential)
    return who

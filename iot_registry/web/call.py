"""A call of a route of the registry, and who makes it."""

from __future__ import annotations

from typing import TypeAlias

from aiohttp import web

import web_service.web
from iot_registry.service.access import ANYONE, Principal, Scope
from iot_registry.service.api_keys import KEYS, authenticate
from iot_registry.web.context import Context
from web_service.local import utc_now

Call: TypeAlias = web_service.web.Call[Context, Principal]


async def principal(context: Context, request: web.Request, route: web_service.web.Route) -> Principal:
    """The caller, authenticated by API key if the route needs one. Raises Refused.

    Attempts are not limited in rate: a key has 256 random bits, and a limit by address would let anyone behind the same
    address or proxy lock an administrator out.
    """
    if not isinstance(route.credential, Scope):
        return ANYONE
    key = web_service.web.api_key(request, KEYS)
    who = await context.read(lambda session: authenticate(session, key, utc_now()))
    who.require(route.credential)
    return who

"""What every HTTPS request has in common: bounds on what the peer can send."""

from __future__ import annotations

import itertools
from typing import Any

import aiohttp
from aiohttp.connector import Connection

_MAX_INTERIM_RESPONSES = 8
_MAX_HEADER_OCTETS = 4096


class _BoundedResponse(aiohttp.ClientResponse):
    """A response with a limited number of interim responses before it (RFC 9110 section 15.2).

    aiohttp reads interim responses without a limit.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Read the header. Raises ClientPayloadError after too many interim responses."""
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ClientConnectionError("the connection was closed")
        read, responses = protocol.read, itertools.count()

        async def counted() -> Any:
            if next(responses) > _MAX_INTERIM_RESPONSES:
                raise aiohttp.ClientPayloadError(
                    f"{_MAX_INTERIM_RESPONSES + 1} interim responses, at most {_MAX_INTERIM_RESPONSES} expected"
                )
            return await read()

        protocol.read = counted  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            del protocol.read


def new_session(
    connector: aiohttp.TCPConnector, timeout: float | None, headers: dict[str, str] | None = None
) -> aiohttp.ClientSession:
    """A client session that accepts no cookies, no compression and no proxy. `timeout`: seconds of each request."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "trust-sync", **(headers or {})},
        timeout=aiohttp.ClientTimeout(total=timeout),
        # A small compressed response could expand to a large one.
        auto_decompress=False,
        response_class=_BoundedResponse,
        trust_env=False,
        max_line_size=_MAX_HEADER_OCTETS,
        max_field_size=_MAX_HEADER_OCTETS,
    )

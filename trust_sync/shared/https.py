"""What every HTTPS request has in common: bounds on what the peer can send, and an end of each connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

_MAX_INTERIM_RESPONSES = 8
_MAX_HEADER_OCTETS = 4096
_CLOSE_SECONDS = 1.0


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


class Connector(aiohttp.TCPConnector):
    """A connector whose `close` waits until every connection has ended.

    aiohttp forgets a connection when it begins to close it. A TLS connection then still waits for its peer.
    """

    def __init__(self, **options: Any) -> None:
        """options: of aiohttp.TCPConnector."""
        super().__init__(**options)
        # By what is done when the connection has ended.
        self._transports: dict[asyncio.Future[None], asyncio.Transport] = {}

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's signature
    ) -> Connection:
        """Get a connection for a request. Raises ClientError."""
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        if protocol is not None and protocol.transport is not None and (closed := protocol.closed) is not None:
            self._transports[closed] = protocol.transport
            closed.add_done_callback(self._ended)
        return connection

    def _ended(self, closed: asyncio.Future[None]) -> None:
        self._transports.pop(closed, None)
        if not closed.cancelled():
            # How it ended does not matter, as the response is read or given up.
            closed.exception()

    async def close(self, *, abort_ssl: bool = False) -> None:
        """End every connection."""
        await super().close(abort_ssl=abort_ssl)
        for transport in self._transports.values():
            # In CPython 3.11, a TLS transport that was closed twice cannot be aborted. It ends by itself.
            with contextlib.suppress(AttributeError):
                transport.abort()
        if self._transports:
            await asyncio.wait(list(self._transports), timeout=_CLOSE_SECONDS)


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

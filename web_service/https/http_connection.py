"""HTTP on one connection: deadlines, bounds of the header section, and the answer to malformed requests."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.typedefs import Handler as RequestHandler

from web_service.core.connection_table import ClientConnection, ConnectionTable
from web_service.core.drop_reasons import DropReason
from web_service.core.refusals import Reason, Refused
from web_service.https.drop_log import DropLog
from web_service.https.problem import problem_response
from web_service.https.service_face import ServiceFace
from web_service.local.settings import ConnectionsSection

# Bounds of a request's header section. Clients send a few hundred octets. Times the number of connections, the bounds
# must still fit into memory.
MAX_LINE = 8190
MAX_FIELD = 8190
MAX_FIELDS = 32
MAX_HEAD = 64 * 1024
# Octets that may arrive while a request is served. No client needs pipelining (RFC 9112 section 9.3.2).
MAX_PIPELINED = 16 * 1024
# Octets that may arrive between a header section and the start of its handler: a body, and what the socket buffers.
MAX_BEFORE_HANDLER = 512 * 1024
# How long the rest of a refused body is read and discarded, so that the client can read the refusal.
LINGER_SECONDS = 5


class HttpConnection(web.RequestHandler):
    """aiohttp's connection, with deadlines for a request's header section and for reading the answer.

    The idle deadline is aiohttp's own (`keepalive_timeout`). That of the body is in `web_service.web.request_reading`.
    """

    def __init__(
        self,
        manager: web.Server,
        service: ServiceFace,
        connection: ClientConnection,
        table: ConnectionTable,
        limits: ConnectionsSection,
        drop_log: DropLog,
        **options: Any,
    ) -> None:
        super().__init__(
            manager,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=LINGER_SECONDS,
            max_line_size=MAX_LINE,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            # A body with a content coding is refused: a small one could expand to a large one.
            auto_decompress=False,
            **options,
        )
        self._service = service
        self._connection = connection
        self._table = table
        self._limits = limits
        self._drop_log = drop_log
        self._deadline: asyncio.TimerHandle | None = None
        self._send_deadline: asyncio.TimerHandle | None = None
        self._content: StreamReader = EMPTY_PAYLOAD
        self._serving = False
        self._octets = 0
        self._begun = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connection.end = self._give_way
        self._await_head()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._table.remove(self._connection)
        self._service.metrics.connections.set(len(self._table))
        for handle in (self._deadline, self._send_deadline):
            if handle is not None:
                handle.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._serving and self._deadline is None:
            self._await_head()
        # aiohttp applies back-pressure to a body that is not read. Octets outside of bodies are counted here.
        if self._content.is_eof():
            self._octets += len(data)
            if self._octets > (MAX_PIPELINED if self._serving else MAX_BEFORE_HANDLER):
                self._drop(DropReason.FLOODED)
                return
        super().data_received(data)
        if not self._serving and self._octets > MAX_HEAD and self._request_count == self._begun:
            self._drop(DropReason.FLOODED)

    def _await_head(self) -> None:
        self._deadline = self._loop.call_later(self._limits.header_seconds, self._drop, DropReason.HEADER_TIMEOUT)

    def begin(self, request: web.Request) -> None:
        """The header section of a request is complete, and its handler starts."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._serving, self._content, self._octets = True, request.content, 0
        self._begun += 1
        self._table.busy(self._connection)

    def reading(self, begun: bool) -> None:
        """The handler starts or ends to wait for a body. Meanwhile, the connection may be ended for another."""
        if begun:
            self._table.idle(self._connection)
        else:
            self._table.busy(self._connection)

    def finish(self) -> None:
        """The handler of the request has ended."""
        self._serving, self._octets = False, 0
        self._table.idle(self._connection)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_deadline = self._loop.call_later(self._limits.send_seconds, self._drop, DropReason.SEND_TIMEOUT)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def _give_way(self) -> None:
        self._drop(DropReason.GAVE_WAY)

    def _drop(self, kind: DropReason) -> None:
        self._drop_log.note(kind, self._connection.address)
        self._abort()

    def _abort(self) -> None:
        # Not close(), which would wait until the peer has read pending output.
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a malformed request with a problem body, and log it as a dropped connection."""
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("the client is gone, or the answer has begun and can only be aborted")
        if status == 400:
            self._drop_log.note(DropReason.MALFORMED, self._connection.address)
            refused = Refused(
                Reason.MALFORMED,
                f"found {type(exc).__name__ if exc else 'no HTTP'}, expected an HTTP/1.1 request "
                f"of at most {MAX_FIELDS} fields of {MAX_FIELD} octets",
            )
        else:
            self._drop_log.note(DropReason.UNEXPECTED, self._connection.address, error=exc)
            refused = Refused(
                Reason.INTERNAL,
                f"an internal error; nothing was changed: try again, and tell the operator of "
                f"{self._service.noun} if it goes on",
            )
        self._service.metrics.refusals.labels(refused.reason).inc()
        answer = problem_response(self._service.name, refused)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        self._drop_log.note(
            DropReason.UNEXPECTED, self._connection.address, error=error if isinstance(error, BaseException) else None
        )


@web.middleware
async def track_request(request: web.Request, handler: RequestHandler) -> web.StreamResponse:
    """Tell the connection when a handler starts and ends."""
    connection = connection_of(request)
    if connection is None:
        return await handler(request)
    connection.begin(request)
    try:
        return await handler(request)
    finally:
        connection.finish()


def connection_of(request: web.Request) -> HttpConnection | None:
    """The connection on which a request arrived; None: aiohttp's test server has others."""
    return request.protocol if isinstance(request.protocol, HttpConnection) else None

"""One connection's HTTP: its deadlines, and what is said to those who do not speak HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from iot_registry import metrics
from iot_registry.config import ConnectionsSection
from iot_registry.errors import Drop, Reason, Refused
from iot_registry.web import problem
from iot_registry.web.connections import Connection, Table
from iot_registry.web.reports import Reports

log = structlog.get_logger("iot_registry.web")

# Bounds of a request's head: far above what honest clients send (a few hundred octets), and below what would matter
# times the number of connections.
MAX_LINE = 8190
MAX_FIELD = 8190
MAX_FIELDS = 32
MAX_HEAD = 64 * 1024
# Octets that may arrive ahead of the request being served: nobody here needs pipelining (RFC 9112 section 9.3.2).
MAX_AHEAD = 16 * 1024
# Octets that may arrive after a request's head, and before it is taken up an instant later: what a body can bring.
MAX_UNSERVED = 512 * 1024
# How long a body that nobody wants any more is read and thrown away, so that the client gets to see the refusal.
LINGER_SECONDS = 5


class Handler(web.RequestHandler):
    """aiohttp's, with deadlines for a request's head and for taking the answer.

    The idle deadline is aiohttp's own (`keepalive_timeout`); the body's is in `iot_registry.web.context.raw_body`.
    """

    def __init__(
        self,
        manager: web.Server,
        connection: Connection,
        table: Table,
        limits: ConnectionsSection,
        reports: Reports,
        **options: Any,
    ) -> None:
        super().__init__(
            manager,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=LINGER_SECONDS,
            max_line_size=MAX_LINE,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            # Whoever sends a body with a content coding is refused: nobody has to, and a small one may grow large.
            auto_decompress=False,
            **options,
        )
        self._connection = connection
        self._table = table
        self._limits = limits
        self._reports = reports
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
        metrics.CONNECTIONS.set(len(self._table))
        for handle in (self._deadline, self._send_deadline):
            if handle is not None:
                handle.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._serving and self._deadline is None:
            self._await_head()
        # A body is held back by aiohttp where it is not read; what comes beside bodies is counted here.
        if self._content.is_eof():
            self._octets += len(data)
            if self._octets > (MAX_AHEAD if self._serving else MAX_UNSERVED):
                self._drop(Drop.FLOODED)
                return
        super().data_received(data)
        if not self._serving and self._octets > MAX_HEAD and self._request_count == self._begun:
            self._drop(Drop.FLOODED)

    def _await_head(self) -> None:
        self._deadline = self._loop.call_later(self._limits.header_seconds, self._drop, Drop.HEADER_TIMEOUT)

    def begin(self, request: web.Request) -> None:
        """The head of a request is there, and it is being served."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._serving, self._content, self._octets = True, request.content, 0
        self._begun += 1
        self._table.busy(self._connection)

    def reading(self, begun: bool) -> None:
        """Waiting for a body: while it lasts, the connection may give way to another."""
        if begun:
            self._table.idle(self._connection)
        else:
            self._table.busy(self._connection)

    def finish(self) -> None:
        """The answer to the request is made."""
        self._serving, self._octets = False, 0
        self._table.idle(self._connection)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_deadline = self._loop.call_later(self._limits.send_seconds, self._drop, Drop.SEND_TIMEOUT)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_deadline is not None:
            self._send_deadline.cancel()
            self._send_deadline = None

    def _give_way(self) -> None:
        self._drop(Drop.GAVE_WAY)

    def _drop(self, kind: Drop) -> None:
        self._reports.note(kind, self._connection.address)
        self._abort()

    def _abort(self) -> None:
        # Not close(): that would wait for the peer to take what is left.
        transport = self.transport
        self.force_close()
        if transport is not None:
            transport.abort()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is not HTTP gets a problem body like everyone else, and a line in the log like all its kind."""
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("the client has gone, or the answer has begun: it can only be broken off")
        if status == 400:
            self._reports.note(Drop.MALFORMED, self._connection.address)
            refused = Refused(
                Reason.MALFORMED,
                f"found {type(exc).__name__ if exc else 'no HTTP'}, expected an HTTP/1.1 request "
                f"of at most {MAX_FIELDS} fields of {MAX_FIELD} octets",
            )
        else:
            self._reports.note(Drop.UNEXPECTED, self._connection.address, error=exc)
            refused = Refused(Reason.INTERNAL, "an internal error; nothing was changed")
        metrics.REFUSALS.labels(refused.reason).inc()
        answer = problem.response(refused)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        self._reports.note(
            Drop.UNEXPECTED, self._connection.address, error=error if isinstance(error, BaseException) else None
        )


@web.middleware
async def serving(request: web.Request, handler: problem.Handler) -> web.StreamResponse:
    """Tell the connection when a request is being served, and when no more."""
    connection = of(request)
    if connection is None:
        return await handler(request)
    connection.begin(request)
    try:
        return await handler(request)
    finally:
        connection.finish()


def of(request: web.Request) -> Handler | None:
    """The connection that a request came by."""
    return request.protocol if isinstance(request.protocol, Handler) else None

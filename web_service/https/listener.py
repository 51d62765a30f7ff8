"""Accepting connections: bounded before the TLS handshake, with a deadline for it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import resource
import socket
import ssl
import struct
from collections.abc import Callable

from aiohttp import web

from web_service.core.connection_table import ClientConnection, ConnectionTable
from web_service.core.drop_reasons import DropReason
from web_service.core.refusals import ConfigurationError
from web_service.https.drop_log import DropLog
from web_service.https.http_connection import HttpConnection
from web_service.https.service_face import ServiceFace
from web_service.local.settings import ConnectionsSection, Endpoint

BACKLOG = 1024
# Connections that are accepted before the event loop runs anything else.
ACCEPTS_PER_EVENT = 64
# File descriptors for other things: database, name server, state directory.
RESERVED_FILES = 256
# Pause if no file descriptor is left for another connection.
NO_FILES_PAUSE_SECONDS = 0.5
# How long sent data may stay unacknowledged, until the peer counts as gone (RFC 5482).
UNACKNOWLEDGED_MILLISECONDS = 60_000
TLS_SHUTDOWN_SECONDS = 3.0
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

ProtocolFactory = Callable[[ClientConnection], asyncio.Protocol]


def require_files(connections: int) -> None:
    """Raise the limit of open files to what the connections need. Raises ConfigurationError if that is not allowed."""
    needed = connections + RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        except (OSError, ValueError):
            raise ConfigurationError(
                f"connections.total: found {connections}, but this process may open {soft} files, and needs "
                f"{RESERVED_FILES} for other things: set it to at most {max(0, soft - RESERVED_FILES)}, or allow more "
                "(LimitNOFILE of the unit, ulimit -n)"
            ) from None


class Listener:
    """The listening sockets, and the TLS handshakes in progress. `open`, then `close`.

    tls: gives the context of the next handshake.
    """

    def __init__(
        self,
        service: ServiceFace,
        table: ConnectionTable,
        factory: ProtocolFactory,
        tls: Callable[[], ssl.SSLContext],
        handshake_seconds: float,
        drop_log: DropLog,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._metrics = service.metrics
        self._table = table
        self._factory = factory
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._drop_log = drop_log
        self._sockets: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()

    async def open(self, endpoint: Endpoint) -> int:
        """Listen; returns the port. Raises OSError."""
        found = await self._loop.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
            sock = socket.create_server((str(address[0]), int(address[1])), family=family, backlog=BACKLOG)
            sock.setblocking(False)
            self._sockets.append(sock)
            self._loop.add_reader(sock, self._accept, sock)
        return int(self._sockets[0].getsockname()[1])

    async def close(self) -> None:
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets = []
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_EVENT):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_RESOURCES:
                    self._pause(listening)
                    return
                # This client disconnected before it was accepted (accept(2)). There may be others.
                continue
            self._admit(sock, str(address[0]))

    def _pause(self, listening: socket.socket) -> None:
        self._drop_log.note(DropReason.NO_FILES)
        self._loop.remove_reader(listening)
        self._loop.call_later(NO_FILES_PAUSE_SECONDS, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _admit(self, sock: socket.socket, address: str) -> None:
        def end() -> None:
            self._drop_log.note(DropReason.GAVE_WAY, address)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

        admitted = self._table.admit(address, end)
        if isinstance(admitted, DropReason):
            self._drop_log.note(admitted, address)
            with contextlib.suppress(OSError):
                # A reset leaves no TIME-WAIT state in the kernel, which a flood would fill.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.close()
            return
        self._metrics.connections.set(len(self._table))
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
        task = self._loop.create_task(self._handshake(sock, admitted))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, sock: socket.socket, connection: ClientConnection) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._factory(connection),
                sock,
                ssl=self._tls(),
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS,
            )
        except asyncio.CancelledError:
            self._table.remove(connection)
            raise
        except Exception as error:
            if self._table.remove(connection):
                self._metrics.connections.set(len(self._table))
                self._log_failure(error, connection)

    def _log_failure(self, error: Exception, connection: ClientConnection) -> None:
        # asyncio raises this when the deadline of the handshake has passed.
        if isinstance(error, ConnectionAbortedError):
            self._drop_log.note(DropReason.HANDSHAKE_TIMEOUT, connection.address)
        elif isinstance(error, OSError):
            self._drop_log.note(DropReason.HANDSHAKE_FAILED, connection.address)
        else:
            self._drop_log.note(DropReason.UNEXPECTED, connection.address, error=error)


def listener_of(
    service: ServiceFace, limits: ConnectionsSection, runner: web.AppRunner, tls: Callable[[], ssl.SSLContext]
) -> Listener:
    """The listener whose connections the application of `runner` serves. Raises ConfigurationError."""
    require_files(limits.total)
    loop, server = asyncio.get_running_loop(), runner.server
    assert server is not None
    shared = [ipaddress.ip_network(text) for text in limits.shared_addresses]
    table, drop_log = ConnectionTable(limits.total, limits.per_address, shared), DropLog(service)
    loop.set_exception_handler(drop_log.unexpected)

    def connected(connection: ClientConnection) -> asyncio.Protocol:
        return HttpConnection(server, service, connection, table, limits, drop_log, loop=loop, access_log=None)

    return Listener(service, table, connected, tls, limits.handshake_seconds, drop_log)

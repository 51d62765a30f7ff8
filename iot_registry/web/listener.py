"""Accepting connections: bounded before TLS begins, with a deadline for the handshake."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import socket
import ssl
import struct
from collections.abc import Callable

import structlog

from iot_registry import metrics
from iot_registry.config import Endpoint
from iot_registry.errors import ConfigurationError, Drop
from iot_registry.web.connections import Connection, Table
from iot_registry.web.reports import Reports

log = structlog.get_logger("iot_registry.web")

BACKLOG = 1024
# How many are accepted before anything else gets its turn.
ACCEPTS_A_TURN = 64
# Files besides connections: database, name server, state directory.
RESERVED_FILES = 256
# How long to leave the queue alone where the machine has no file left for a connection.
NO_FILES_PAUSE_SECONDS = 0.5
# A peer that is gone without a word, found out while something waits to be acknowledged (RFC 5482).
UNACKNOWLEDGED_MILLISECONDS = 60_000
SHUTDOWN_SECONDS = 3.0
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

Factory = Callable[[Connection], asyncio.Protocol]


def require_files(connections: int) -> None:
    """Make sure that this process may open as many files as it may have connections. Raises ConfigurationError."""
    needed = connections + RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        except (OSError, ValueError):
            raise ConfigurationError(
                f"connections.total: found {connections}, but this process may open {soft} files, and needs "
                f"{RESERVED_FILES} for other things: expected at most {max(0, soft - RESERVED_FILES)}, or more files "
                "(LimitNOFILE of the unit, ulimit -n)"
            ) from None


class Listener:
    """Listening sockets and the handshakes under way. `open`, then `close`."""

    def __init__(
        self, table: Table, factory: Factory, tls: ssl.SSLContext, handshake_seconds: float, reports: Reports
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._table = table
        self._factory = factory
        self._tls = tls
        self._handshake_seconds = handshake_seconds
        self._reports = reports
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
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_RESOURCES:
                    self._pause(listening)
                    return
                # This one was gone before it was taken (accept(2)); the next may be there.
                continue
            self._take(sock, str(address[0]))

    def _pause(self, listening: socket.socket) -> None:
        self._reports.note(Drop.NO_FILES)
        self._loop.remove_reader(listening)
        self._loop.call_later(NO_FILES_PAUSE_SECONDS, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _take(self, sock: socket.socket, address: str) -> None:
        def cut_off() -> None:
            self._reports.note(Drop.GAVE_WAY, address)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

        admitted = self._table.admit(address, cut_off)
        if isinstance(admitted, Drop):
            self._reports.note(admitted, address)
            with contextlib.suppress(OSError):
                # At once and without a state of its own in the kernel, which a flood would fill.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            sock.close()
            return
        metrics.CONNECTIONS.set(len(self._table))
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
        task = self._loop.create_task(self._handshake(sock, admitted))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _handshake(self, sock: socket.socket, connection: Connection) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._factory(connection),
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except asyncio.CancelledError:
            self._table.remove(connection)
            raise
        except Exception as error:
            if self._table.remove(connection):
                metrics.CONNECTIONS.set(len(self._table))
                self._note(error, connection)

    def _note(self, error: Exception, connection: Connection) -> None:
        # asyncio says so, in words only, where its deadline has passed.
        if isinstance(error, ConnectionAbortedError):
            self._reports.note(Drop.HANDSHAKE_TIMEOUT, connection.address)
        elif isinstance(error, OSError):
            self._reports.note(Drop.HANDSHAKE_FAILED, connection.address)
        else:
            self._reports.note(Drop.UNEXPECTED, connection.address, error=error)

"""DNS over TCP and TLS: many questions over a few persistent connections (RFC 7766, RFC 7858)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from dane_radius.core.answers import Answer, Unavailable
from dane_radius.dns.interpret import interpret
from dane_radius.dns.wire import WireError, decode_response, encode_query

# Unbound processes 32 questions of one connection at a time, and reads no more until it has answered one. At a quarter
# of that, another connection is opened, so that the unanswered questions of a dead zone do not delay the others.
_QUESTIONS_BEFORE_ANOTHER = 8
# Unbound accepts 10 TCP connections in all by default (incoming-num-tcp).
_MAX_CONNECTIONS = 6
# RFC 7766 section 6.2.3: a server may close an idle connection at any time. The client closes it first.
_IDLE_SECONDS = 10.0
# Between two attempts to connect to a resolver that does not listen.
_RECONNECT_SECONDS = 0.2


class _ConnectionLostError(OSError):
    """The connection ended while questions were unanswered."""


@dataclass(eq=False)
class _Connection:
    """One connection, with its unanswered questions by their message id."""

    writer: asyncio.StreamWriter
    waiting: dict[int, asyncio.Future[bytes]] = field(default_factory=dict)
    # Whether it has carried an answer. When such a connection ends, the likely cause is the server's idle timeout.
    used: bool = False
    lost: bool = False
    idle: asyncio.TimerHandle | None = None

    def fail(self, error: OSError | WireError) -> None:
        self.lost = True
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)
        self.writer.close()


class StreamClient:
    """Asks one resolver over TCP, or over TLS when `tls` is given. For one event loop."""

    def __init__(
        self,
        address: str,
        port: int,
        title: str,
        *,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        allow_sha1: bool = False,
    ) -> None:
        """`title` names the resolver in messages. `timeout`: seconds for one lookup in all."""
        self._allow_sha1 = allow_sha1
        self._address, self._port, self._title, self._timeout = address, port, title, timeout
        self._tls, self._server_name = tls, server_name
        self._connections: list[_Connection] = []
        self._readers: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Lookups that start while a connection is being opened wait for it instead of opening one each.
        self._opening = asyncio.Lock()

    def start(self) -> None:
        """As `Client.start`."""
        self._loop = asyncio.get_running_loop()

    def ask(self, name: str, done: Callable[[Answer], None]) -> None:
        """As `Client.ask`."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._begin, name, done)

    def _begin(self, name: str, done: Callable[[Answer], None]) -> None:
        task = asyncio.ensure_future(self._finish(name, done))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _finish(self, name: str, done: Callable[[Answer], None]) -> None:
        answer: Answer = Unavailable("the lookup was ended")
        try:
            answer = await self.lookup(name)
        finally:
            done(answer)

    async def lookup(self, name: str) -> Answer:
        """As `Client.lookup`."""
        return await self.lookup_until(name, asyncio.get_running_loop().time() + self._timeout)

    async def lookup_until(self, name: str, deadline: float) -> Answer:
        """The answer for `name`, by `deadline` on the event loop's clock.

        If the resolver does not listen, it may be restarting: the client tries again until then.
        """
        refused = False
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        return await self._ask(name)
                    except ConnectionRefusedError:
                        refused = True
                        await asyncio.sleep(_RECONNECT_SECONDS)
        except TimeoutError:
            if refused:
                return Unavailable(f"{self._title} is not listening")
            return Unavailable(f"no answer from {self._title} within {self._timeout:g} s")
        except ssl.SSLError as error:
            return Unavailable(f"{self._title} did not authenticate: {error.reason or error}")
        except OSError as error:
            return Unavailable(f"{self._title}: {error.strerror or error}")
        except WireError as error:
            return Unavailable(f"{self._title} sent a malformed answer: {error}")

    async def _ask(self, name: str) -> Answer:
        while True:
            connection = await self._connection()
            fresh = not connection.used
            try:
                return await self._ask_over(connection, name)
            except (_ConnectionLostError, ConnectionResetError, BrokenPipeError):
                # The server may have closed a connection that was idle: the question is sent over another one. A new
                # connection that ends without an answer is an error.
                if fresh:
                    raise

    async def _ask_over(self, connection: _Connection, name: str) -> Answer:
        message_id = secrets.randbelow(0x10000)
        while message_id in connection.waiting:
            message_id = secrets.randbelow(0x10000)
        query = encode_query(name, message_id)
        future = asyncio.get_running_loop().create_future()
        connection.waiting[message_id] = future
        if connection.idle is not None:
            connection.idle.cancel()
            connection.idle = None
        try:
            connection.writer.write(struct.pack("!H", len(query)) + query)
            octets = await future
        finally:
            connection.waiting.pop(message_id, None)
            self._start_idle_timer(connection)
        return interpret(decode_response(octets, name, message_id), name, allow_sha1=self._allow_sha1)

    def _start_idle_timer(self, connection: _Connection) -> None:
        if not connection.waiting and not connection.lost:
            loop = asyncio.get_running_loop()
            connection.idle = loop.call_later(_IDLE_SECONDS, self._close_idle, connection)

    def _close_idle(self, connection: _Connection) -> None:
        if not connection.waiting:
            connection.lost = True
            connection.writer.close()
            with contextlib.suppress(ValueError):
                self._connections.remove(connection)

    async def _connection(self) -> _Connection:
        best = self._least_busy()
        if best is not None and len(best.waiting) < _QUESTIONS_BEFORE_ANOTHER:
            return best
        async with self._opening:
            best = self._least_busy()
            if best is not None and (
                len(best.waiting) < _QUESTIONS_BEFORE_ANOTHER or len(self._connections) >= _MAX_CONNECTIONS
            ):
                return best
            reader, writer = await asyncio.open_connection(
                self._address, self._port, ssl=self._tls, server_hostname=self._server_name if self._tls else None
            )
            connection = _Connection(writer)
            self._connections.append(connection)
            task = asyncio.create_task(self._read(connection, reader))
            self._readers.add(task)
            task.add_done_callback(self._readers.discard)
            return connection

    def _least_busy(self) -> _Connection | None:
        usable = [connection for connection in self._connections if not connection.lost]
        return min(usable, key=lambda connection: len(connection.waiting), default=None)

    async def _read(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        error: OSError | WireError
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                octets = await reader.readexactly(size)
                connection.used = True
                future = connection.waiting.get(int.from_bytes(octets[:2], "big"))
                if future is not None and not future.done():
                    future.set_result(octets)
        except asyncio.IncompleteReadError as cut:
            error = (
                WireError("the connection ended in the middle of a message")
                if cut.partial or not connection.used
                else _ConnectionLostError("the connection ended")
            )
        except OSError as broken:
            error = broken
        connection.fail(error)
        with contextlib.suppress(ValueError):
            self._connections.remove(connection)

    async def close(self) -> None:
        """As `Client.close`."""
        for task in list(self._asking):
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        connections, self._connections = self._connections, []
        readers = list(self._readers)
        for connection in connections:
            if connection.idle is not None:
                connection.idle.cancel()
            connection.fail(_ConnectionLostError("closed"))
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        for connection in connections:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await connection.writer.wait_closed()

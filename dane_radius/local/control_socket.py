"""Control sockets, by which operators and other processes control a running process.

The transport is a Unix stream socket. Request and reply are one JSON object in one line each. A request has `"v": 1`,
`"op"`, and the arguments of the operation:

    {"v": 1, "op": "flush", "name": "a1._device.example.net"}

The reply is `{"ok": true, ...}` or `{"ok": false, "error": "..."}`. The socket file's mode (0660) limits who may
connect. A server can also restrict the users, whom the kernel identifies (SO_PEERCRED).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

VERSION = 1
MAX_REQUEST_OCTETS = 16 * 1024
# The status of trust_sync lists up to a thousand entries of each kind.
MAX_REPLY_OCTETS = 16 * 1024 * 1024
_READ_SECONDS = 5.0
_WRITE_SECONDS = 10.0
_ASK_SECONDS = 10.0
_MAX_CONNECTIONS = 64


class ControlError(RuntimeError):
    """The control socket was not usable, or the server refused the request."""


Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def encode_request(op: str, fields: dict[str, Any]) -> bytes:
    """The line that requests an operation."""
    return json.dumps({"v": VERSION, "op": op, **fields}).encode() + b"\n"


def decode_reply(line: bytes) -> dict[str, Any]:
    """The fields of the reply. Raises ControlError, with the server's message if the server refused the request."""
    if not line:
        raise ControlError("the server closed the connection without an answer")
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError("the server's answer is not JSON") from error
    if not isinstance(reply, dict):
        raise ControlError(f"a JSON object is expected as the answer, {type(reply).__name__} found")
    if reply.get("ok") is not True:
        raise ControlError(str(reply.get("error", "refused")))
    return reply


async def answer(line: bytes, handler: Handler) -> dict[str, Any]:
    """The reply to one line. Never raises. `handler` gets a valid request, and raises ValueError to refuse it."""
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise ValueError("a JSON object is expected")
        if request.get("v") != VERSION:
            raise ValueError(f"version {request.get('v')!r} found, {VERSION} expected")
        return {"ok": True, **await handler(request)}
    except (ValueError, RecursionError) as error:
        return {"ok": False, "error": str(error) or type(error).__name__}
    except Exception as error:
        return {"ok": False, "error": f"internal error: {type(error).__name__}"}


class ControlServer:
    """Serves a control socket in the event loop that starts it."""

    def __init__(self, path: str, handler: Handler, users: Iterable[str] | None = None) -> None:
        """`users`: who may connect, besides root and the server's own user. None: only the file's mode limits that.

        Raises OSError for a user that does not exist.
        """
        self._path, self._handler = path, handler
        self._uids: set[int] | None = None
        self._gid: int | None = None
        if users is not None:
            accounts = [_account(user) for user in users]
            self._uids = {0, os.geteuid(), *(account.pw_uid for account in accounts)}
            self._gid = accounts[0].pw_gid if accounts else None
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind and serve. A socket file that no server listens on is replaced. Raises OSError."""
        os.makedirs(os.path.dirname(self._path) or ".", exist_ok=True)
        if await _is_served(self._path):
            raise OSError(f"{self._path}: another server answers on this socket")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        before = os.umask(0o117)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_REQUEST_OCTETS)
        finally:
            os.umask(before)
        if self._gid is not None:
            # Possible only for a member of the group. Otherwise the operator sets the group (systemd's Group=).
            with contextlib.suppress(PermissionError):
                os.chown(self._path, -1, self._gid)

    async def stop(self) -> None:
        """Close the socket and its connections, and remove the socket file."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            for peer in self._peers:
                peer.cancel()
            await asyncio.gather(*self._peers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            self._peers.add(task)
            task.add_done_callback(self._peers.discard)
        try:
            if len(self._peers) <= _MAX_CONNECTIONS and self._may_connect(writer.get_extra_info("socket")):
                async with asyncio.timeout(_READ_SECONDS):
                    line = await reader.readuntil(b"\n")
                reply = await answer(line, self._handler)
                writer.write(json.dumps(reply).encode() + b"\n")
                async with asyncio.timeout(_WRITE_SECONDS):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # The client has disconnected, is too slow, or has sent too much: there is no reply.
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _may_connect(self, connection: socket.socket) -> bool:
        return self._uids is None or peer_uid(connection) in self._uids


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise OSError(f"user {user!r} does not exist") from error


def peer_uid(connection: socket.socket) -> int:
    """The user id of the peer process, from the kernel (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


async def _is_served(path: str) -> bool:
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_unix_connection(path)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def ask(path: str, op: str, *, timeout: float = _ASK_SECONDS, **fields: Any) -> dict[str, Any]:
    """Send one request and return the reply. `timeout`: seconds for the whole exchange. Raises ControlError."""
    ends = time.monotonic() + timeout
    octets = bytearray()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(encode_request(op, fields))
            while b"\n" not in octets[-65536:]:
                connection.settimeout(max(ends - time.monotonic(), 0.001))
                chunk = connection.recv(65536)
                if not chunk:
                    break
                octets += chunk
                if len(octets) > MAX_REPLY_OCTETS:
                    raise ControlError(f"{path}: more than {MAX_REPLY_OCTETS} octets came as an answer")
    except OSError as error:
        raise ControlError(
            f"{path}: {error.strerror or error}; is its server running, and may you use the socket?"
        ) from error
    try:
        return decode_reply(bytes(octets))
    except ControlError as error:
        raise ControlError(f"{path}: {error}") from error


async def ask_async(path: str, op: str, **fields: Any) -> dict[str, Any]:
    """As `ask`, but in an event loop, and without a timeout. Raises ControlError, OSError."""
    reader, writer = await asyncio.open_unix_connection(path, limit=MAX_REPLY_OCTETS)
    try:
        writer.write(encode_request(op, fields))
        return decode_reply(await reader.readline())
    except ValueError as error:
        raise ControlError(f"more than {MAX_REPLY_OCTETS} octets came as an answer") from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

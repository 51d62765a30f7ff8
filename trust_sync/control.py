"""The worker's socket: hints from the module, and an operator's questions. docs/trust-sync.md describes the protocol.

One JSON object a line each way, as on the module's own control socket. Who may connect is up to the file's mode (0660)
and, besides, to who the kernel says is there (SO_PEERCRED).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

VERSION = 1
MAX_REQUEST_OCTETS = 16 * 1024
_READ_SECONDS = 5.0
_WRITE_SECONDS = 10.0
_ASK_SECONDS = 10.0
# A status lists up to a thousand entries of each kind.
_MAX_REPLY_OCTETS = 16 * 1024 * 1024
_MAX_CONNECTIONS = 64


class ControlError(RuntimeError):
    """The worker could not be asked, or refused the request."""


Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Serves the socket. `handler` gets a checked request, gives the reply's fields, and raises ValueError."""

    def __init__(self, path: str, users: Iterable[str], handler: Handler) -> None:
        """Raises OSError for a user that does not exist."""
        self._path, self._handler = path, handler
        self._uids = {0, os.geteuid()}
        self._gid: int | None = None
        for user in users:
            try:
                entry = pwd.getpwnam(user)
            except KeyError as error:
                raise OSError(f"socket_users: user {user!r} does not exist") from error
            self._uids.add(entry.pw_uid)
            self._gid = self._gid if self._gid is not None else entry.pw_gid
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind and serve. Raises OSError. A socket file that nobody answers on any more is replaced."""
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        if await _answers(self._path):
            raise OSError(f"{self._path}: another worker answers on this socket")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        before = os.umask(0o117)
        try:
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_REQUEST_OCTETS)
        finally:
            os.umask(before)
        if self._gid is not None:
            # Needs membership in that group; without it, the operator arranges for the group (systemd's Group=).
            with contextlib.suppress(PermissionError):
                os.chown(self._path, -1, self._gid)

    async def stop(self) -> None:
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
            if len(self._peers) <= _MAX_CONNECTIONS and peer_uid(writer.get_extra_info("socket")) in self._uids:
                async with asyncio.timeout(_READ_SECONDS):
                    line = await reader.readuntil(b"\n")
                reply = await self.answer(line)
                writer.write(json.dumps(reply).encode() + b"\n")
                async with asyncio.timeout(_WRITE_SECONDS):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            # Gone, slow, or talking too much: nothing to answer.
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def answer(self, line: bytes) -> dict[str, Any]:
        """The reply to one line. Never raises."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a JSON object is expected")
            if request.get("v") != VERSION:
                raise ValueError(f"version {request.get('v')!r} found, {VERSION} expected")
            return {"ok": True, **await self._handler(request)}
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": str(error) or type(error).__name__}
        except Exception as error:
            return {"ok": False, "error": f"internal error: {type(error).__name__}"}


def peer_uid(connection: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel knows it (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


async def _answers(path: str) -> bool:
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
    """Send one request to the worker and give its reply. `timeout`: seconds. Raises ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(json.dumps({"v": VERSION, "op": op, **fields}).encode() + b"\n")
            octets = bytearray()
            while chunk := connection.recv(65536):
                octets += chunk
                if len(octets) > _MAX_REPLY_OCTETS:
                    raise ControlError(f"{path}: more than {_MAX_REPLY_OCTETS} octets came as an answer")
    except OSError as error:
        raise ControlError(
            f"{path}: {error.strerror or error}; is the worker running, and may you read the socket?"
        ) from error
    if not octets:
        raise ControlError(f"{path}: the worker closed the connection without an answer")
    try:
        reply = json.loads(octets)
    except ValueError as error:
        raise ControlError(f"{path}: the worker's answer is not JSON") from error
    if not isinstance(reply, dict) or not reply.get("ok"):
        raise ControlError(f"{path}: {reply.get('error', 'refused') if isinstance(reply, dict) else reply!r}")
    return reply

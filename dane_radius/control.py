"""The control socket: how an operator, and `trust_sync`, speak to the running module.

A Unix stream socket; one JSON object a line each way. A request carries `"v": 1` and `"op"`:

    {"v": 1, "op": "flush"}                                   forget every cached answer
    {"v": 1, "op": "flush", "name": "a1._device.example.net"} forget one name ("below": true: and all under it)
    {"v": 1, "op": "status"}                                  what is in force

The reply is `{"ok": true, ...}` or `{"ok": false, "error": "..."}`. The peer must be root, the server's own user, or in
the socket file's group, which its mode (0660) lets the kernel enforce.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

VERSION = 1
MAX_REQUEST_OCTETS = 16 * 1024
_TIMEOUT_SECONDS = 5.0
_MAX_CONNECTIONS = 16

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class ControlError(RuntimeError):
    """The control socket could not be used, or refused the request."""


class ControlServer:
    """Serves a control socket from threads of its own. `handler` gets a checked request and gives the reply's fields.

    A handler raises ValueError for a request that it cannot serve; its text goes to the peer.
    """

    def __init__(self, path: str, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._stopping = False

    def start(self) -> None:
        """Bind and serve. Raises OSError. A socket file that nobody answers on any more is replaced."""
        with contextlib.suppress(FileNotFoundError):
            if _answers(self._path):
                raise OSError(f"{self._path}: another server answers on this socket")
            os.unlink(self._path)
        before = os.umask(0o117)
        try:
            self._listener.bind(self._path)
        finally:
            os.umask(before)
        self._listener.listen(_MAX_CONNECTIONS)
        threading.Thread(target=self._accept, name="control", daemon=True).start()

    def stop(self) -> None:
        """Close the socket and remove its file."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="control-peer", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                with contextlib.suppress(OSError):
                    line = _read_line(connection)
                    if line is not None:
                        connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")
        finally:
            self._slots.release()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a JSON object is expected")
            if request.get("v") != VERSION:
                raise ValueError(f"version {request.get('v')!r} found, {VERSION} expected")
            return {"ok": True, **self._handler(request)}
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": str(error) or type(error).__name__}


def _answers(path: str) -> bool:
    os.stat(path)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.settimeout(1)
            probe.connect(path)
        except OSError:
            return False
    return True


def _read_line(connection: socket.socket) -> bytes | None:
    """One line without its end; None when the peer closes before it is whole, or it is too long."""
    octets = bytearray()
    while b"\n" not in octets:
        if len(octets) > MAX_REQUEST_OCTETS:
            return None
        chunk = connection.recv(4096)
        if not chunk:
            return None
        octets += chunk
    return bytes(octets.split(b"\n", 1)[0])


def ask(path: str, op: str, *, timeout: float = _TIMEOUT_SECONDS, **fields: Any) -> dict[str, Any]:
    """Send one request and give its reply. Raises ControlError when nobody answers or the request is refused."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(json.dumps({"v": VERSION, "op": op, **fields}).encode() + b"\n")
            line = _read_line(connection)
    except OSError as error:
        raise ControlError(
            f"{path}: {error.strerror or error}; is the server running, and may you read the socket?"
        ) from error
    if line is None:
        raise ControlError(f"{path}: the server closed the connection without an answer")
    try:
        reply = json.loads(line)
    except ValueError as error:
        raise ControlError(f"{path}: the server's answer is not JSON") from error
    if not isinstance(reply, dict) or not reply.get("ok"):
        raise ControlError(f"{path}: {reply.get('error', 'refused') if isinstance(reply, dict) else reply!r}")
    return reply

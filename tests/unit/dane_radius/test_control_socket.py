"""Control sockets: the framing, the server, and both clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dane_radius.local.control_socket import ControlError, ControlServer, answer, ask, ask_async


async def _echo(request: dict[str, Any]) -> dict[str, Any]:
    if request.get("op") == "crash":
        raise RuntimeError("inner detail")
    if request.get("op") != "echo":
        raise ValueError("op is not known")
    return {"said": request}


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_the_reply_to_any_line_is_an_object(line: bytes) -> None:
    reply = asyncio.run(answer(line, _echo))
    assert reply["ok"] is False
    assert isinstance(reply["error"], str)
    json.dumps(reply)


def test_an_internal_error_does_not_leak() -> None:
    reply = asyncio.run(answer(b'{"v": 1, "op": "crash"}', _echo))
    assert reply == {"ok": False, "error": "internal error: RuntimeError"}
    assert asyncio.run(answer(b'{"v": 1, "op": "echo"}', _echo))["ok"]
    assert "version 2 found" in asyncio.run(answer(b'{"v": 2, "op": "echo"}', _echo))["error"]
    assert not asyncio.run(answer(b"[" * 10_000, _echo))["ok"]


async def _talk(path: Path, octets: bytes) -> bytes:
    """Send, and read until the server closes the connection."""
    reader, writer = await asyncio.open_unix_connection(path)
    reply = b""
    with contextlib.suppress(ConnectionError):
        writer.write(octets)
        await writer.drain()
        reply = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return reply


async def test_the_socket_serves_its_users_only(tmp_path: Path) -> None:
    path = tmp_path / "run" / "sync.sock"
    server = ControlServer(str(path), _echo, [])
    await server.start()
    try:
        assert path.stat().st_mode & 0o777 == 0o660
        assert json.loads(await _talk(path, b'{"v": 1, "op": "echo"}\n'))["ok"]
        # The server closes a connection whose line is too long.
        assert await _talk(path, b"x" * 100_000) == b""
        # A user whom the file's mode permits, but who is not in the list.
        server._uids = {12345}
        assert await _talk(path, b'{"v": 1, "op": "echo"}\n') == b""
        with pytest.raises(OSError, match="another server answers"):
            await ControlServer(str(path), _echo, []).start()
    finally:
        await server.stop()
    assert not path.exists()


@pytest.mark.parametrize("octets", [10, 20_000, 3_000_000])
async def test_a_reply_of_any_size_is_read(tmp_path: Path, octets: int) -> None:
    path = tmp_path / "sync.sock"

    async def long_reply(request: dict[str, Any]) -> dict[str, Any]:
        return {"text": "x" * octets, "asked": request["op"]}

    server = ControlServer(str(path), long_reply, [])
    await server.start()
    try:
        reply = await asyncio.to_thread(ask, str(path), "status")
        assert (len(reply["text"]), reply["asked"]) == (octets, "status")
    finally:
        await server.stop()
    with pytest.raises(ControlError, match="is its server running"):
        await asyncio.to_thread(ask, str(path), "status")


async def test_a_reply_that_is_none_is_said_so(tmp_path: Path) -> None:
    answers = [b"", b"garbage\n", b"[]\n", b'{"ok": false, "error": "no such op"}\n']

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answers[0])
        writer.close()
        await writer.wait_closed()

    path = tmp_path / "sync.sock"
    async with await asyncio.start_unix_server(serve, path):
        for message in ("without an answer", "not JSON", "list found", "no such op"):
            with pytest.raises(ControlError, match=message):
                await asyncio.to_thread(ask, str(path), "status")
            del answers[0]


async def test_a_server_without_a_list_leaves_it_to_the_mode(tmp_path: Path) -> None:
    server = ControlServer(str(tmp_path / "module.sock"), _echo)
    await server.start()
    try:
        assert (await ask_async(str(tmp_path / "module.sock"), "echo", more=1))["said"]["more"] == 1
        with pytest.raises(ControlError, match="op is not known"):
            await ask_async(str(tmp_path / "module.sock"), "nothing")
    finally:
        await server.stop()


def test_a_user_that_does_not_exist_is_named() -> None:
    with pytest.raises(OSError, match="user 'nobody-of-that-name' does not exist"):
        ControlServer("/nowhere", _echo, ["nobody-of-that-name"])


async def test_the_timeout_limits_a_server_that_sends_slowly(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        closed.set()

    path = tmp_path / "sync.sock"
    async with await asyncio.start_unix_server(serve, path):
        with pytest.raises(ControlError, match="timed out"):
            await asyncio.to_thread(ask, str(path), "status", timeout=0.2)
        await closed.wait()

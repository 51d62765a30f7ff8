"""Attacks of a registry on the worker: responses that cost the worker more than they cost the registry."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import zlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from tests.fault.trust_sync.neighbours import HOSTILE
from tests.harness.pki import authority
from tests.harness.trust_sync import Handler, WebServer

MIB = 1024 * 1024
_BLOCK = 64 * 1024


def body(head: bytes, item: bytes, tail: bytes, octets: int) -> bytes:
    """JSON of about this many octets that repeats one element."""
    return head + item + (b"," + item) * ((octets - len(head) - len(tail)) // (len(item) + 1)) + tail


def changes_of(item: bytes, octets: int) -> bytes:
    return body(b'{"changes": [', item, b'], "next": 1}', octets)


def snapshot_of(item: bytes, octets: int) -> bytes:
    return body(b'{"seq": 0, "anchors": [', item, b'], "names": []}', octets)


def fixed(octets: bytes, **headers: str) -> Handler:
    """A handler that always sends the same response."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=octets, headers={"Content-Type": "application/json", **headers})

    return handle


def streamed(pieces: Callable[[], AsyncIterator[bytes]]) -> Handler:
    """A handler that sends chunks without Content-Length until the peer closes the connection."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            async for piece in pieces():
                if request.transport is None or request.transport.is_closing():
                    break
                await response.write(piece)
        return response

    return handle


def raw(head: bytes, again: bytes) -> Handler:
    """A handler that sends octets that are no HTTP response: first `head`, then `again` repeatedly."""

    async def handle(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        transport.write(head)
        for _ in range(100_000):
            if transport.is_closing():
                break
            if transport.get_write_buffer_size() < MIB:  # type: ignore[attr-defined]
                transport.write(again)
            await asyncio.sleep(0.001)
        raise web.HTTPInternalServerError

    return handle


async def _endless() -> AsyncIterator[bytes]:
    yield b'{"changes": ['
    while True:
        yield b" " * _BLOCK


async def _trickle() -> AsyncIterator[bytes]:
    yield b'{"changes": [['
    while True:
        yield b"[],"
        await asyncio.sleep(0.002)


async def _tiny_chunks() -> AsyncIterator[bytes]:
    yield b'{"changes": [{"seq": 1, "type": "'
    for _ in range(400_000):
        yield b"x"
    yield b'"}], "next": 1}'


def revoking(names: Callable[[], list[str]]) -> Handler:
    """New changes without end, a thousand in each response, without any delay."""

    async def handle(request: web.Request) -> web.StreamResponse:
        since = int(request.query["since"])
        found = [
            {"seq": since + n, "type": "device.revoked", "domain": HOSTILE, "name": name}
            for n, name in enumerate(names(), 1)
        ]
        return web.json_response({"changes": found, "next": since + len(found)})

    return handle


def _whole(octets: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(octets), octets)


_numbers = itertools.count()


def strangers() -> list[str]:
    """Names without live sessions."""
    return [f"d{next(_numbers)}._device.{HOSTILE}" for _ in range(1000)]


RESIDENTS = [f"r{n}._device.{HOSTILE}" for n in range(2000)]
_rounds = itertools.count()


def residents() -> list[str]:
    """Names with live sessions."""
    half = next(_rounds) % 2
    return RESIDENTS[1000 * half :][:1000]


def rolling(request_count: int = 500) -> Handler:
    """Rollovers of the domain, and anchors that are added and removed."""
    ca = authority("Coming and going")

    async def handle(request: web.Request) -> web.StreamResponse:
        since = int(request.query["since"])
        anchor = {"pem": ca.pem.decode()}
        kinds = itertools.cycle(("rollover", "anchor.added", "anchor.removed"))
        found = [
            {"seq": since + n, "type": kind, "domain": HOSTILE, "anchor": anchor}
            for n, kind in zip(range(1, request_count), kinds, strict=False)
        ]
        return web.json_response({"changes": found, "next": since + len(found)})

    return handle


def many_anchors() -> bytes:
    """A snapshot of many different certificates."""
    cas = [authority(f"Swarm CA {n}") for n in range(300)]
    anchors = [{"domain": HOSTILE, "pem": ca.pem.decode()} for ca in cas]
    rubbish = [{"domain": HOSTILE, "pem": ca.pem.decode().replace("A", "B", n)} for n, ca in enumerate(cas, 3)]
    return json.dumps({"seq": 0, "anchors": (anchors + rubbish * 30), "names": []}).encode()


def bomb(octets: int) -> bytes:
    """A response with a compression ratio of a thousand."""
    return gzip.compress(b'{"changes": [' + b" " * octets, 9)


CHANGES: dict[str, Callable[[], Handler]] = {
    "revocations of strangers": lambda: revoking(strangers),
    "revocations of residents": lambda: revoking(residents),
    "rollovers and anchors": rolling,
    "empty objects, 4 MiB": lambda: fixed(changes_of(b"{}", 4 * MIB)),
    "empty objects, 16 MiB": lambda: fixed(changes_of(b"{}", 16 * MIB)),
    "empty objects, unannounced": lambda: streamed(lambda: _pieces(changes_of(b"{}", 7 * MIB))),
    "objects of many members": lambda: fixed(changes_of(b'{"a":0,"b":[[],{},[]]}', 7 * MIB)),
    "deep nesting": lambda: fixed(b'{"changes": ' + b"[" * 7 * MIB),
    "deep nesting in elements": lambda: fixed(changes_of(b"[" * 900 + b"]" * 900, 7 * MIB)),
    "one huge string": lambda: fixed(changes_of(b'{"seq":1,"type":"' + b"x" * 7 * MIB + b'"}', 7 * MIB)),
    "huge strings": lambda: fixed(changes_of(b'{"seq":1,"type":"' + b"x" * 120_000 + b'"}', 7 * MIB)),
    "huge numbers": lambda: fixed(changes_of(b'{"seq":' + b"9" * 120_000 + b"}", 7 * MIB)),
    "huge fractions": lambda: fixed(changes_of(b'{"seq":1.' + b"9" * 120_000 + b"}", 7 * MIB)),
    "repeated keys": lambda: fixed(changes_of(b"{" + b",".join([b'"seq":1'] * 10_000) + b"}", 7 * MIB)),
    "endless space": lambda: streamed(_endless),
    "slow trickle": lambda: streamed(_trickle),
    "tiny chunks": lambda: streamed(_tiny_chunks),
    "interim answers without end": lambda: raw(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "early hints without end": lambda: raw(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000),
    "headers without end": lambda: raw(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 5000),
    "one header without end": lambda: raw(b"HTTP/1.1 200 OK\r\na: ", b"b" * _BLOCK),
    "answers nobody asked for": lambda: raw(
        _whole(b'{"changes": [], "next": 1}'), _whole(b'{"changes": [], "next": 2}') * 500
    ),
    "chunk extensions": lambda: raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (b"1;" + b"x" * 4000 + b"\r\n \r\n") * 16
    ),
    "trailers without end": lambda: raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 5000
    ),
    "gzip bomb": lambda: fixed(bomb(512 * MIB), **{"Content-Encoding": "gzip"}),
    "deflate bomb": lambda: fixed(zlib.compress(b" " * (256 * MIB)), **{"Content-Encoding": "deflate"}),
}
SNAPSHOTS: dict[str, Callable[[], bytes]] = {
    "snapshot of empty objects, 60 MiB": lambda: snapshot_of(b"{}", 60 * MIB),
    "snapshot of names, 60 MiB": lambda: body(b'{"seq": 0, "anchors": [], "names": [', b'""', b"]}", 60 * MIB),
    "snapshot of long names, 60 MiB": lambda: body(
        b'{"seq": 0, "anchors": [], "names": [', b'"' + b"n" * 80 + b'"', b"]}", 60 * MIB
    ),
    "snapshot of fat anchors, 60 MiB": lambda: snapshot_of(
        b'{"domain":"hostile.example","pem":"' + b"A" * 5000 + b'"}', 60 * MIB
    ),
    "snapshot of many anchors": many_anchors,
}


async def _pieces(octets: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(octets), _BLOCK):
        yield octets[start : start + _BLOCK]


async def _news(request: web.Request) -> web.StreamResponse:
    since = int(request.query["since"])
    return web.json_response({"changes": [], "next": since + 1})


async def _gone(request: web.Request) -> web.StreamResponse:
    return web.Response(status=410)


def _in_turn(*handlers: Handler) -> Handler:
    turns = itertools.cycle(handlers)

    async def handle(request: web.Request) -> web.StreamResponse:
        return await next(turns)(request)

    return handle


def begin(server: WebServer, attack: str) -> None:
    """Make a registry attack repeatedly from now on.

    A valid response after each attack keeps the worker's backoff short.
    """
    if attack in CHANGES:
        server.files["/v1/snapshot"] = fixed(b'{"seq": 0, "anchors": [], "names": []}')
        server.files["/v1/changes"] = _in_turn(_news, CHANGES[attack]())
    else:
        server.files["/v1/snapshot"] = fixed(SNAPSHOTS[attack]())
        server.files["/v1/changes"] = _in_turn(_news, _gone)

"""The HTTPS client of a feed. Responses are bounded, and read element by element.

The publisher is authenticated, but it may be faulty or compromised. Octets, elements and the octets of an element are
therefore limited before anything is parsed. Parsing yields to other tasks of the event loop.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Protocol, TypeVar

import aiohttp

from dane_radius.dns import tls_context
from trust_sync.feeds.json_stream import Bounds, ObjectReader, StreamError, TooLarge
from trust_sync.feeds.memory_budget import MemoryBudget
from trust_sync.feeds.messages import FeedError
from trust_sync.shared import Connector, FeedConfig, TimeSlice, new_session, read_secret

_CONNECT_SECONDS = 10.0
# A snapshot may be megabytes over a slow line.
_SNAPSHOT_SECONDS = 110
_PIECE_OCTETS = 16 * 1024


class HistoryGone(Exception):
    """The publisher no longer has the requested changes (status 410). Only a snapshot helps."""


class Reader(Protocol):
    """Reads one kind of response."""

    def take(self, array: str, item: Any, members: dict[str, Any], /) -> None:
        """Read an element of an array. members: those of the response that preceded it."""

    def finish(self, members: dict[str, Any], counts: dict[str, int]) -> None:
        """Check the complete response. Raises FeedError."""


_ReaderT = TypeVar("_ReaderT", bound=Reader)


class FeedClient:
    """Sends requests to the publisher of one feed. budget: the memory that all responses may occupy together."""

    def __init__(self, name: str, what: str, config: FeedConfig, budget: MemoryBudget) -> None:
        """Raises ConfigError if the API key cannot be read, OSError if the CA file cannot.

        name: of the feed. what: the section of the configuration, for errors.
        """
        self._name, self._config, self._budget = name, config, budget
        self._key = read_secret(config.api_key_file, f"{what}: api_key_file")
        self._context = tls_context(config.ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the HTTP session. The next request opens another."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def changes(self, since: int, wait: int, bounds: Bounds, reader: _ReaderT) -> _ReaderT:
        """Poll for the changes after `since`, for up to `wait` seconds. Raises FeedError, HistoryGone."""
        return await self._get(f"/v1/changes?since={since}&wait={wait}", wait, bounds, reader)

    async def snapshot(self, bounds: Bounds, reader: _ReaderT) -> _ReaderT:
        """Get the whole state. Raises FeedError, HistoryGone."""
        return await self._get("/v1/snapshot", _SNAPSHOT_SECONDS, bounds, reader)

    def release(self) -> None:
        """Release the memory budget of the last response, which is no longer held."""
        self._budget.release(self._name)

    async def _get(self, path: str, wait: float, bounds: Bounds, response: _ReaderT) -> _ReaderT:
        stream = ObjectReader(bounds)
        try:
            async with asyncio.timeout(wait + _CONNECT_SECONDS):
                await self._read(self._config.url + path, stream, bounds, response)
        except TimeoutError as error:
            detail = f"no whole answer within {wait + _CONNECT_SECONDS:g} s; {stream.received} octets found"
            raise FeedError("timeout", detail) from error
        except (ssl.SSLError, aiohttp.ClientSSLError) as error:
            raise FeedError("tls", str(error)) from error
        except TooLarge as error:
            raise FeedError("too_large", f"{path}: {error}") from error
        except StreamError as error:
            raise FeedError("malformed", f"{path}: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FeedError("connect", str(error) or type(error).__name__) from error
        try:
            response.finish(stream.members, stream.counts)
        except FeedError as error:
            raise type(error)(error.reason, f"{path}: {error}") from error
        return response

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No connection is reused: on an idle one, aiohttp would accept data without a limit.
            connector = Connector(ssl=self._context, limit=2, force_close=True)
            self._session = new_session(connector, None, {"Authorization": f"Bearer {self._key}"})
        return self._session

    async def _read(self, url: str, stream: ObjectReader, bounds: Bounds, response: Reader) -> None:
        async with self._open().get(url, allow_redirects=False) as http:
            _check_head(url, http, bounds)
            pace = TimeSlice()
            pace.pause()
            async for chunk in http.content.iter_chunked(_PIECE_OCTETS):
                pace.resume()
                for array, item in stream.feed(chunk):
                    response.take(array, item, stream.members)
                    await pace.rest()
                self._hold(stream.received)
                await pace.rest()
                pace.pause()
            pace.resume()
            for array, item in stream.finish():
                response.take(array, item, stream.members)
                await pace.rest()

    def _hold(self, octets: int) -> None:
        if not self._budget.hold(self._name, octets):
            raise TooLarge(f"{octets} octets or more, and all feeds together exceed feeds.memory")


def _check_head(url: str, response: aiohttp.ClientResponse, bounds: Bounds) -> None:
    """Check status and header. Raises FeedError, HistoryGone, TooLarge."""
    if response.status == 410:
        raise HistoryGone
    if response.status in (401, 403):
        raise FeedError("unauthorized", f"{url}: status {response.status}; check the API key")
    if response.status != 200:
        raise FeedError("status", f"{url}: status {response.status}, 200 is expected")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise FeedError("malformed", f"{url}: Content-Encoding {encoding!r} found, none is expected")
    if response.content_length is not None and response.content_length > bounds.octets:
        raise TooLarge(f"{response.content_length} octets announced, at most {bounds.octets} expected")

"""HTTPS to an IoT registry: one answer at a time, read in pieces, and no more of it than may be.

A registry is known and has a key of ours, and may be broken or taken over all the same. So its answers are bounded
before they are parsed (octets, elements, octets of an element), they are read element by element, and their reading
leaves the event loop to others in between. No compression: a small answer could become a large one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp

from trust_sync.config import RegistryConfig, read_secret
from trust_sync.fetch import BoundedResponse, tls_context
from trust_sync.json_stream import Bounds, ObjectReader, StreamError, TooLarge
from trust_sync.messages import ChangesReader, FeedError, SnapshotReader, bounds_of_changes, bounds_of_snapshot
from trust_sync.pace import Budget, Pace

_CONNECT_SECONDS = 10.0
# A snapshot may be megabytes over a slow line.
_SNAPSHOT_SECONDS = 110
_PIECE_OCTETS = 16 * 1024
_MAX_HEADER_OCTETS = 4096


class HistoryGone(Exception):
    """The registry has forgotten the changes that are asked for (410): only a snapshot helps."""


class RegistryClient:
    """Asks one registry. `budget`: what all registries may hold in memory together."""

    def __init__(self, config: RegistryConfig, budget: Budget) -> None:
        """Raises ConfigError when the API key cannot be read, OSError when the CA file cannot."""
        self._config, self._budget = config, budget
        self._key = read_secret(config.api_key_file, f"registry {config.name}: api_key_file")
        self._context = tls_context(config.ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def changes(self, since: int, wait: int) -> ChangesReader:
        """What changed after `since`; waits up to `wait` seconds for something. Raises FeedError, HistoryGone."""
        reader = ChangesReader(since)
        path = f"/v1/changes?since={since}&wait={wait}"
        await self._get(path, wait, bounds_of_changes(self._config), reader.take, reader.finish)
        return reader

    async def snapshot(self) -> SnapshotReader:
        """The whole state. Raises FeedError, HistoryGone."""
        reader = SnapshotReader()
        await self._get("/v1/snapshot", _SNAPSHOT_SECONDS, bounds_of_snapshot(self._config), reader.take, reader.finish)
        return reader

    def release(self) -> None:
        """The latest answer has been dealt with, and is not held any more."""
        self._budget.release(self._config.name)

    async def _get(
        self,
        path: str,
        wait: float,
        bounds: Bounds,
        take: Callable[[str, Any], None],
        finish: Callable[[dict[str, Any], dict[str, int]], None],
    ) -> None:
        reader = ObjectReader(bounds)
        try:
            async with asyncio.timeout(wait + _CONNECT_SECONDS):
                await self._read(self._config.url + path, reader, bounds, take)
        except TimeoutError as error:
            detail = f"no whole answer within {wait + _CONNECT_SECONDS:g} s; {reader.received} octets found"
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
            finish(reader.members, reader.counts)
        except FeedError as error:
            raise type(error)(error.reason, f"{path}: {error}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # No connection is kept: on an idle one, aiohttp would take in whatever is sent, without a bound.
                connector=aiohttp.TCPConnector(ssl=self._context, limit=2, force_close=True),
                headers={
                    "Authorization": f"Bearer {self._key}",
                    "User-Agent": "trust-sync",
                    "Accept-Encoding": "identity",
                },
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                response_class=BoundedResponse,
                trust_env=False,
                max_line_size=_MAX_HEADER_OCTETS,
                max_field_size=_MAX_HEADER_OCTETS,
            )
        return self._session

    async def _read(self, url: str, reader: ObjectReader, bounds: Bounds, take: Callable[[str, Any], None]) -> None:
        async with self._open().get(url, allow_redirects=False) as response:
            _check_head(url, response, bounds)
            pace = Pace()
            pace.pause()
            async for chunk in response.content.iter_chunked(_PIECE_OCTETS):
                pace.begin()
                for array, item in reader.feed(chunk):
                    take(array, item)
                    await pace.rest()
                self._hold(reader.received)
                await pace.rest()
                pace.pause()
            pace.begin()
            for array, item in reader.feed(b"", last=True):
                take(array, item)
                await pace.rest()

    def _hold(self, octets: int) -> None:
        if not self._budget.hold(self._config.name, octets):
            raise TooLarge(f"{octets} octets or more, and all registries together hold too many (feeds.memory)")


def _check_head(url: str, response: aiohttp.ClientResponse, bounds: Bounds) -> None:
    """Raises FeedError, HistoryGone, TooLarge."""
    if response.status == 410:
        raise HistoryGone
    if response.status in (401, 403):
        raise FeedError("unauthorized", f"{url}: status {response.status}; is the API key right?")
    if response.status != 200:
        raise FeedError("status", f"{url}: status {response.status}, 200 is expected")
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise FeedError("malformed", f"{url}: Content-Encoding {encoding!r} found, none is expected")
    if response.content_length is not None and response.content_length > bounds.octets:
        raise TooLarge(f"{response.content_length} octets announced, at most {bounds.octets} expected")

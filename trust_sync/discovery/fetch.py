"""HTTPS GET of small files from untrusted hosts, with limits on time, size and destination.

- Connections go to the very addresses that were checked. A host name whose addresses change in between (DNS rebinding)
  therefore gains nothing.
- Redirects, compression, proxies and cookies are not used. One deadline covers the whole exchange, so a server that
  sends slowly gains no time.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from trust_sync.discovery.addresses import refusal
from trust_sync.discovery.reasons import FetchProblem
from trust_sync.shared import Connector, IpNetwork, new_session

Resolve = Callable[[str], Awaitable[list[str]]]
_MAX_CACHED, _MAX_CACHED_OCTETS, _MAX_ETAG_OCTETS = 1000, 8192, 256
_CHUNK_OCTETS = 8192


class FetchFailed(Exception):
    """A file was not fetched. problem and the text say why."""

    def __init__(self, problem: FetchProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass(frozen=True)
class Fetched:
    """A file. max_age: seconds that Cache-Control allows it to be kept, None if unspecified. etag: its validator."""

    body: bytes
    max_age: float | None
    etag: str | None = None


class _GuardedResolver(AbstractResolver):
    """Resolves through the validating resolver, and refuses hosts with an address that may not be connected to."""

    def __init__(self, resolve: Resolve, allowed: Sequence[IpNetwork]) -> None:
        self._resolve, self._allowed = resolve, allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._resolve(host)
        if not found:
            raise FetchFailed(FetchProblem.ADDRESS_UNAVAILABLE, f"{host} has no address")
        reasons = [why for why in (refusal(address, self._allowed) for address in found) if why]
        if reasons:
            # One refused address refuses the host, even beside public ones.
            raise FetchFailed(FetchProblem.ADDRESS_REFUSED, f"{host}: {reasons[0]}")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Do nothing: no resources are held."""


@dataclass(frozen=True)
class Fetcher:
    """Fetches files from untrusted hosts.

    resolve: gives the addresses of a host. timeout: seconds for the whole exchange. allowed: networks to which
    connections are allowed although they are not public.
    """

    resolve: Resolve
    context: ssl.SSLContext
    timeout: float
    max_octets: int
    allowed: Sequence[IpNetwork] = ()
    port: int = 443
    # Files that can be revalidated by their entity tag, least recently used first.
    _cached: OrderedDict[str, Fetched] = field(default_factory=OrderedDict, repr=False)

    async def get(self, host: str, path: str) -> Fetched:
        """Get https://host/path. Raises FetchFailed."""
        if _is_literal(host):
            why = refusal(host.strip("[]"), self.allowed)
            raise FetchFailed(FetchProblem.ADDRESS_REFUSED, why or f"{host}: a name is expected, not an address")
        try:
            async with asyncio.timeout(self.timeout):
                return await self._get(f"https://{host}:{self.port}{path}")
        except TimeoutError as error:
            raise FetchFailed(FetchProblem.TIMEOUT, f"{host}: no whole answer within {self.timeout:g} s") from error
        except (ssl.SSLError, aiohttp.ClientSSLError) as error:
            raise FetchFailed(FetchProblem.TLS_FAILED, f"{host}: TLS: {error}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchFailed(FetchProblem.CONNECT_FAILED, f"{host}: {error or type(error).__name__}") from error

    async def _get(self, url: str) -> Fetched:
        cached = self._cached.get(url)
        validator = {"If-None-Match": cached.etag} if cached and cached.etag else {}
        connector = Connector(
            resolver=_GuardedResolver(self.resolve, self.allowed), ssl=self.context, use_dns_cache=False, limit=1
        )
        async with (
            new_session(connector, self.timeout) as session,
            session.get(url, allow_redirects=False, headers=validator) as response,
        ):
            if response.status == 304 and cached is not None:
                # RFC 9111 section 4.3.4: the stored body, with the freshness of the new response.
                return Fetched(cached.body, max_age(response.headers.get("Cache-Control", "")), cached.etag)
            if 300 <= response.status < 400:
                raise FetchFailed(FetchProblem.REDIRECT, f"{url}: status {response.status}; redirects are not followed")
            if response.status != 200:
                raise FetchFailed(FetchProblem.STATUS, f"{url}: status {response.status}, 200 is expected")
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_OCTETS):
                body += chunk
                if len(body) > self.max_octets:
                    raise FetchFailed(FetchProblem.TOO_LARGE, f"{url}: more than {self.max_octets} octets")
            etag = response.headers.get("ETag")
            fetched = Fetched(bytes(body), max_age(response.headers.get("Cache-Control", "")), etag)
            self._cache(url, fetched)
            return fetched

    def _cache(self, url: str, fetched: Fetched) -> None:
        self._cached.pop(url, None)
        if fetched.etag and len(fetched.etag) <= _MAX_ETAG_OCTETS and len(fetched.body) <= _MAX_CACHED_OCTETS:
            self._cached[url] = fetched
            if len(self._cached) > _MAX_CACHED:
                self._cached.popitem(last=False)


def _is_literal(host: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+|.*:.*|0x[0-9a-f.x]*", host.lower()))


def max_age(cache_control: str) -> float | None:
    """Read the seconds of a Cache-Control header (RFC 9111 section 5.2.2.1): 0 for no-store and no-cache."""
    directives = [part.strip().lower() for part in cache_control.split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    for directive in directives:
        match = re.fullmatch(r"max-age=\"?(\d{1,10})\"?", directive)
        if match:
            return float(match[1])
    return None

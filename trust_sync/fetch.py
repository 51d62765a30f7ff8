"""HTTPS GET for small files from hosts that a stranger named: bounded in time, size and reach.

- The addresses that are checked are the ones that are connected to: a name that changes its mind in between (DNS
  rebinding) gains nothing.
- No redirects, no compression, no proxy, no cookies; one deadline over everything, so that a server cannot drip.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection

from trust_sync.addresses import IpNetwork, refusal

Lookup = Callable[[str], Awaitable[list[str]]]
_MAX_KEPT, _MAX_KEPT_OCTETS, _MAX_ETAG = 1000, 8192, 256
_MAX_INTERIM_ANSWERS = 8


class FetchProblem(StrEnum):
    """Why nothing was fetched."""

    ADDRESS_REFUSED = "address_refused"
    ADDRESS_UNAVAILABLE = "address_unavailable"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMEOUT = "timeout"
    REDIRECT = "redirect"
    STATUS = "status"
    TOO_LARGE = "too_large"


class FetchFailed(Exception):
    """Nothing was fetched; `problem` and the text say why."""

    def __init__(self, problem: FetchProblem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


@dataclass(frozen=True)
class Fetched:
    """A body, and the seconds that Cache-Control lets it be kept (None: it does not say). etag: its validator."""

    body: bytes
    max_age: float | None
    etag: str | None = None


class _GuardedResolver(AbstractResolver):
    """Resolves through the validating resolver, and lets no address through that may not be connected to."""

    def __init__(self, lookup: Lookup, allowed: Sequence[IpNetwork]) -> None:
        self._lookup, self._allowed = lookup, allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._lookup(host)
        if not found:
            raise FetchFailed(FetchProblem.ADDRESS_UNAVAILABLE, f"{host} has no address")
        reasons = [why for why in (refusal(address, self._allowed) for address in found) if why]
        if reasons:
            # One bad address among good ones is no accident either.
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
        """Nothing is held."""


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Verification against `ca_file`, or the system's trust store. Raises OSError when the file cannot be used."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class BoundedResponse(aiohttp.ClientResponse):
    """An answer with few interim ones before it (RFC 9110 section 15.2). aiohttp would read them without end."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """As aiohttp's. Raises ClientPayloadError for more interim answers than anybody needs."""
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ClientConnectionError("the connection was closed")
        read, answers = protocol.read, itertools.count()

        async def counted() -> Any:
            if next(answers) > _MAX_INTERIM_ANSWERS:
                raise aiohttp.ClientPayloadError(
                    f"{_MAX_INTERIM_ANSWERS + 1} interim answers, at most {_MAX_INTERIM_ANSWERS} expected"
                )
            return await read()

        protocol.read = counted  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            del protocol.read


@dataclass(frozen=True)
class Fetcher:
    """Fetches from hosts that nobody vouches for. `timeout` is in seconds, over everything."""

    lookup: Lookup
    context: ssl.SSLContext
    timeout: float
    max_octets: int
    allowed: Sequence[IpNetwork] = ()
    port: int = 443
    # What was fetched before and can be asked for again by its entity tag, least recently used first.
    _kept: OrderedDict[str, Fetched] = field(default_factory=OrderedDict, repr=False)

    async def get(self, host: str, path: str) -> Fetched:
        """The body of https://host/path. Raises FetchFailed."""
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
        kept = self._kept.get(url)
        validator = {"If-None-Match": kept.etag} if kept and kept.etag else {}
        # Happy eyeballs off: the addresses are tried one after the other, within the one deadline.
        connector = aiohttp.TCPConnector(
            resolver=_GuardedResolver(self.lookup, self.allowed), ssl=self.context, use_dns_cache=False, limit=1
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "trust-sync"},
                timeout=aiohttp.ClientTimeout(total=self.timeout),
                max_line_size=4096,
                max_field_size=4096,
                response_class=BoundedResponse,
            ) as session,
            session.get(url, allow_redirects=False, headers=validator) as response,
        ):
            if response.status == 304 and kept is not None:
                # RFC 9111 section 4.3.4: the stored body, under the new answer's terms.
                return Fetched(kept.body, max_age(response.headers.get("Cache-Control", "")), kept.etag)
            if 300 <= response.status < 400:
                raise FetchFailed(FetchProblem.REDIRECT, f"{url}: status {response.status}; redirects are not followed")
            if response.status != 200:
                raise FetchFailed(FetchProblem.STATUS, f"{url}: status {response.status}, 200 is expected")
            body = bytearray()
            async for chunk in response.content.iter_chunked(8192):
                body += chunk
                if len(body) > self.max_octets:
                    raise FetchFailed(FetchProblem.TOO_LARGE, f"{url}: more than {self.max_octets} octets")
            etag = response.headers.get("ETag")
            fetched = Fetched(bytes(body), max_age(response.headers.get("Cache-Control", "")), etag)
            self._keep(url, fetched)
            return fetched

    def _keep(self, url: str, fetched: Fetched) -> None:
        self._kept.pop(url, None)
        if fetched.etag and len(fetched.etag) <= _MAX_ETAG and len(fetched.body) <= _MAX_KEPT_OCTETS:
            self._kept[url] = fetched
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)


def _is_literal(host: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+|.*:.*|0x[0-9a-f.x]*", host.lower()))


def max_age(cache_control: str) -> float | None:
    """The seconds of a Cache-Control header (RFC 9111 section 5.2.2.1); 0 for no-store and no-cache."""
    directives = [part.strip().lower() for part in cache_control.split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    for directive in directives:
        match = re.fullmatch(r"max-age=\"?(\d{1,10})\"?", directive)
        if match:
            return float(match[1])
    return None

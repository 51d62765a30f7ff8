"""The DNS, from the worker's event loop: TLSA through the module's own resolver, addresses through the same server."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import dns.exception
import dns.nameserver
import dns.resolver

from dane_radius.core import Answer
from dane_radius.dns import Client
from dane_radius.local import ResolverConfig

_MAX_ADDRESSES = 8


class Lookup:
    """TLSA records are asked for without threads; addresses in a few, and no more than these wait."""

    def __init__(self, config: ResolverConfig, threads: int = 8) -> None:
        self._resolver = config.build()
        self._client: Client | None = None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="dns")
        self._addresses = dns.resolver.Resolver(configure=False)
        self._addresses.lifetime = config.timeout
        if config.transport == "tls":
            self._addresses.nameservers = [
                dns.nameserver.DoTNameserver(
                    config.address, config.port or 853, config.server_name, verify=config.ca_file or True
                )
            ]
        else:
            self._addresses.nameservers = [config.address]
            self._addresses.port = config.port or 53

    async def tlsa(self, name: str) -> Answer:
        """The TLSA RRset of a normalized name. Never raises."""
        if self._client is None:
            self._client = self._resolver.open()
        return await self._client.lookup(name)

    async def addresses(self, host: str) -> list[str]:
        """IPv4 and IPv6 addresses of a host, at most a few; empty when there are none to be had."""
        loop = asyncio.get_running_loop()
        both = [loop.run_in_executor(self._threads, self._ask, host, kind) for kind in ("A", "AAAA")]
        return [address for found in await asyncio.gather(*both) for address in found][:_MAX_ADDRESSES]

    def _ask(self, host: str, kind: str) -> list[str]:
        try:
            answer = self._addresses.resolve(host + ".", kind, raise_on_no_answer=False, search=False)
        except (dns.exception.DNSException, OSError):
            return []
        return [record.address for record in answer]

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None
        self._threads.shutdown(wait=False, cancel_futures=True)

"""DNS lookups from the event loop: TLSA through the module's resolver code, addresses through the same server."""

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


class DnsClient:
    """Looks up TLSA records without threads, and addresses in a pool of `threads` threads."""

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
        """Look up the TLSA RRset of a normalized name. Never raises."""
        if self._client is None:
            self._client = self._resolver.open()
        return await self._client.lookup(name)

    async def addresses(self, host: str) -> list[str]:
        """Look up the IPv4 and IPv6 addresses of a host. The list is empty if none could be found."""
        loop = asyncio.get_running_loop()
        both = [loop.run_in_executor(self._threads, self._resolve, host, kind) for kind in ("A", "AAAA")]
        return [address for found in await asyncio.gather(*both) for address in found][:_MAX_ADDRESSES]

    def _resolve(self, host: str, kind: str) -> list[str]:
        try:
            answer = self._addresses.resolve(host + ".", kind, raise_on_no_answer=False, search=False)
        except (dns.exception.DNSException, OSError):
            return []
        return [record.address for record in answer]

    async def close(self) -> None:
        """Close the sockets and stop the threads."""
        if self._client is not None:
            await self._client.close()
            self._client = None
        self._threads.shutdown(wait=False, cancel_futures=True)

"""Decides whether names or whole domains are flushed, and limits how often domains are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from trust_sync.sessions.cache_flush import ALL_CACHES, CacheFlusher
from trust_sync.sessions.registry_map import RegistryMap

# If more names of one domain are flushed at once, the domain is flushed instead.
_MAX_NAMES_PER_DOMAIN = 32
# Flushing a domain walks the resolver's whole cache. Each registry may cause that for a fifth of the time at most: a
# pause of this many times the duration follows.
_PAUSE_FACTOR = 4.0
_PAUSE_MAX_SECONDS = 10.0


class FlushScheduler:
    """Flushes caches on behalf of registries. The flushes of one registry delay only that registry."""

    def __init__(self, flusher: CacheFlusher, registry_map: RegistryMap, wall: Callable[[], float]) -> None:
        self._flusher, self._registry_map, self._wall = flusher, registry_map, wall
        # When each registry may have a domain flushed again.
        self._allowed_at: dict[str, float] = {}

    async def names(
        self, names: Sequence[str], *, registry: str | None = None, caches: Collection[str] = ALL_CACHES
    ) -> None:
        """Flush names. A domain with many of them is flushed as a whole."""
        if len(names) <= _MAX_NAMES_PER_DOMAIN:
            await self._flusher.names(names, caches=caches)
            return
        by_domain: dict[str, list[str]] = {}
        for name in names:
            by_domain.setdefault(self._registry_map.flush_domain(name), []).append(name)
        few = [name for some in by_domain.values() if len(some) <= _MAX_NAMES_PER_DOMAIN for name in some]
        many = [domain for domain, some in by_domain.items() if len(some) > _MAX_NAMES_PER_DOMAIN]
        await self._flusher.names(few, caches=caches)
        await self.domains(many, registry=registry, caches=caches)

    async def domains(
        self, domains: Sequence[str], *, registry: str | None = None, caches: Collection[str] = ALL_CACHES
    ) -> None:
        """Flush whole domains, and the keys of their zones. registry: the one whose share of time this uses."""
        if not domains:
            return
        if registry is not None:
            wait = self._allowed_at.get(registry, 0.0) - self._wall()
            # A longer wait was set before the clock was set back.
            if 0 < wait <= _PAUSE_MAX_SECONDS:
                await asyncio.sleep(wait)
        began = self._wall()
        await self._flusher.domains(domains, caches=caches)
        if registry is not None:
            now = self._wall()
            self._allowed_at[registry] = now + min(_PAUSE_MAX_SECONDS, _PAUSE_FACTOR * max(0.0, now - began))

"""Which names and domains the caches are told to forget, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from trust_sync.flush import CACHES, Flusher
from trust_sync.owners import Owners

# Names that are flushed one by one; where there are more of one domain, that is flushed as a whole.
_ONE_BY_ONE = 32
# Flushing a domain walks the resolver's whole cache. So it takes a fifth of the time at the most, for each registry.
_PAUSE = 4.0
_PAUSE_MAX_SECONDS = 10.0


class Forgetting:
    """Tells the caches. What one registry causes delays what it causes next, and nothing else."""

    def __init__(self, flusher: Flusher, owners: Owners, wall: Callable[[], float]) -> None:
        self._flusher, self._owners, self._wall = flusher, owners, wall
        # When each registry may have a domain flushed again.
        self._free: dict[str, float] = {}

    async def names(
        self, names: Sequence[str], *, registry: str | None = None, caches: Collection[str] = CACHES
    ) -> None:
        """Make caches forget names; where there are many in one domain, all of that."""
        if len(names) <= _ONE_BY_ONE:
            await self._flusher.names(names, caches=caches)
            return
        domains: dict[str, list[str]] = {}
        for name in names:
            domains.setdefault(self._owners.domain(name), []).append(name)
        few = [name for some in domains.values() if len(some) <= _ONE_BY_ONE for name in some]
        many = [domain for domain, some in domains.items() if len(some) > _ONE_BY_ONE]
        await self._flusher.names(few, caches=caches)
        await self.below(many, registry=registry, caches=caches)

    async def below(
        self, domains: Sequence[str], *, registry: str | None = None, caches: Collection[str] = CACHES
    ) -> None:
        """Make caches forget whole domains, and their zones' keys."""
        if not domains:
            return
        if registry is not None:
            wait = self._free.get(registry, 0.0) - self._wall()
            # A longer one was set before the clock was set back.
            if 0 < wait <= _PAUSE_MAX_SECONDS:
                await asyncio.sleep(wait)
        began = self._wall()
        await self._flusher.below(domains, caches=caches)
        if registry is not None:
            now = self._wall()
            self._free[registry] = now + min(_PAUSE_MAX_SECONDS, _PAUSE * max(0.0, now - began))

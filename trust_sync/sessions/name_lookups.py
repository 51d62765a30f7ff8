"""Looks up watched names, and ends the sessions of those that are no longer valid."""

from __future__ import annotations

import asyncio

from trust_sync.sessions.cache_flush import UNBOUND, CacheFlusher
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.lookup_queue import LookupQueue
from trust_sync.sessions.registry_map import RegistryMap
from trust_sync.sessions.termination import InvalidName, SessionTerminator
from trust_sync.sessions.validity import WatchedName, assess
from trust_sync.sessions.watch_list import WatchList
from trust_sync.shared import DnsClient, Trigger

_RETRY_SECONDS = 1.0


class NameLookups:
    """Lookups of the names in `watch_list`, whose next lookups they schedule."""

    def __init__(
        self,
        context: SessionContext,
        watch_list: WatchList,
        dns: DnsClient,
        flusher: CacheFlusher,
        terminator: SessionTerminator,
        registry_map: RegistryMap,
    ) -> None:
        self._watch_list, self._dns, self._flusher = watch_list, dns, flusher
        self._terminator, self._registry_map = terminator, registry_map
        self._log, self._wall = context.reporting.log, context.wall
        limits = context.config.sessions
        self._recheck_min = limits.recheck_min
        self._queue = LookupQueue(
            self._look_up_safely,
            self._finished,
            own=limits.lookups_per_registry,
            shared=limits.lookups,
            shared_each=limits.lookups_per_domain,
        )

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The lookups in progress."""
        return self._queue.tasks

    def queue(self, watched: WatchedName) -> None:
        """Queue the lookup of a name. What a registry reported is urgent."""
        own = self._registry_map.registry_of(watched.name) is not None
        key = self._registry_map.queue_key(watched.name)
        self._queue.put(key, watched.name, own=own, urgent=watched.trigger is not Trigger.TTL)

    def _finished(self, name: str) -> None:
        """Queue another lookup if a change was reported during the last one."""
        watched = self._watch_list.get(name)
        if watched is not None and watched.due <= self._wall():
            self.queue(watched)

    async def _look_up_safely(self, name: str) -> None:
        try:
            await self._look_up(name)
        except Exception:
            self._log.exception("lookup of a name failed; retrying", name=name)
            self._watch_list.reschedule(name, self._wall() + _RETRY_SECONDS)

    async def _look_up(self, name: str) -> None:
        watched = self._watch_list.get(name)
        if watched is None:
            return
        noticed = min(watched.due, self._wall())
        if _may_be_cached(watched):
            await self._flusher.names([name], caches=(UNBOUND,))
        answer = await self._dns.tlsa(name)
        if self._watch_list.get(name) is not watched:
            # The name changed during the lookup, so the answer may be older than the change. It is looked up again.
            return
        assessment = assess(watched, answer, self._wall(), self._recheck_min)
        self._watch_list.schedule(assessment.watch)
        if assessment.end is not None:
            self._terminator.terminate(InvalidName(name, assessment.end, noticed))
        elif assessment.watch.attempts:
            self._log.warning("lookup not conclusive; retrying", name=name, answer=type(answer).__name__.lower())


def _may_be_cached(watched: WatchedName) -> bool:
    """Whether Unbound may still hold the previous answer.

    After the end of the TTL it may do so for another second, because it counts whole seconds. After a reported change
    it does so if a lookup did not show the change. The notice itself has flushed the name.
    """
    return (watched.trigger is Trigger.TTL) == (not watched.attempts)

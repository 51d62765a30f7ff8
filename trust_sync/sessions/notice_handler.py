"""Handles the notices of registries: flushes the caches, and queues lookups of the names with live sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from dane_radius.core import is_within
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.flush_scheduler import FlushScheduler
from trust_sync.sessions.live_sessions import LiveSessions
from trust_sync.sessions.monitor import RevocationMonitor
from trust_sync.sessions.name_lookups import NameLookups
from trust_sync.sessions.recent_notices import RecentNotices
from trust_sync.sessions.watch_list import WatchList
from trust_sync.shared import Notice, TimeSlice, Trigger

# The least time between notices of whole domains, each of which reads the accounting table.
_DOMAIN_INTERVAL_SECONDS = 1.0


class NoticeHandler:
    """Handles notices. Those of one registry delay only that registry."""

    def __init__(
        self,
        context: SessionContext,
        watch_list: WatchList,
        live: LiveSessions,
        lookups: NameLookups,
        monitor: RevocationMonitor,
        flushes: FlushScheduler,
        recent_notices: RecentNotices,
    ) -> None:
        self._watch_list, self._live, self._lookups, self._monitor = watch_list, live, lookups, monitor
        self._flushes, self._recent_notices, self._wall = flushes, recent_notices, context.wall
        # When each registry may report whole domains again.
        self.allowed_at: dict[str, float] = {}

    async def notice(self, notice: Notice) -> None:
        """Flush the names from all caches, and queue the lookups of those with live sessions.

        May wait for a second, which delays the registry's next notice.
        """
        noticed = self._wall()
        names = list(notice.names)
        for name, trigger in notice.names.items():
            self._recent_notices.add(notice.registry, name, trigger, noticed)
        live, _ = await asyncio.gather(self._with_sessions(names), self._flushes.names(names, registry=notice.registry))
        for name in sorted(live, key=lambda name: notice.names[name] is not Trigger.REVOKED):
            self._queue(name, notice.names[name], noticed)
        if notice.domains:
            await self._notice_domains(notice.registry, notice.domains)

    async def _with_sessions(self, names: Sequence[str]) -> list[str]:
        """Select the names with live sessions, in their order."""
        found = {name for name in names if name in self._watch_list}
        found.update(await self._live.devices_with_sessions([name for name in names if name not in found]))
        return [name for name in names if name in found]

    async def _notice_domains(self, registry: str, domains: Mapping[str, Trigger]) -> None:
        wait = self.allowed_at.get(registry, 0.0) - self._wall()
        # A longer wait was set before the clock was set back.
        if 0 < wait <= _DOMAIN_INTERVAL_SECONDS:
            await asyncio.sleep(wait)
        noticed = self._wall()
        self.allowed_at[registry] = noticed + _DOMAIN_INTERVAL_SECONDS
        await asyncio.gather(self._monitor.poll(noticed), self._flushes.domains(list(domains), registry=registry))
        pace = TimeSlice()
        for name in self._watch_list.names:
            await pace.rest()
            trigger = next((trigger for domain, trigger in domains.items() if is_within(name, domain)), None)
            if trigger is not None:
                self._queue(name, trigger, noticed)

    def _queue(self, name: str, trigger: Trigger, noticed: float) -> None:
        self._lookups.queue(self._watch_list.trigger(name, trigger, noticed))

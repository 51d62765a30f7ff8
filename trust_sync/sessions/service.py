"""Assembles the parts of this room, and offers them to the worker as one object."""

from __future__ import annotations

import asyncio

from policy import Policy
from trust_sync.sessions.access_changes import AccessChanges
from trust_sync.sessions.accounting import Accounting
from trust_sync.sessions.accounting_database import AccountingDatabase
from trust_sync.sessions.cache_flush import CacheFlusher
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.disconnector import Disconnector
from trust_sync.sessions.flush_scheduler import FlushScheduler
from trust_sync.sessions.live_sessions import LiveSessions
from trust_sync.sessions.monitor import RevocationMonitor
from trust_sync.sessions.monitor_mode import MonitorMode
from trust_sync.sessions.name_lookups import NameLookups
from trust_sync.sessions.nas_directory import NasDirectory
from trust_sync.sessions.notice_handler import NoticeHandler
from trust_sync.sessions.pending_terminations import PendingTerminations
from trust_sync.sessions.policy_change import PolicyChangeHandler
from trust_sync.sessions.recent_notices import RecentNotices
from trust_sync.sessions.registry_map import RegistryMap
from trust_sync.sessions.session import Session
from trust_sync.sessions.standing_changes import StandingChanges
from trust_sync.sessions.state import PendingTermination, SessionState
from trust_sync.sessions.termination import SessionTerminator, TerminationParts
from trust_sync.sessions.watch_list import WatchList
from trust_sync.shared import DnsClient, Notice, StandingNotice


class SessionService:
    """Live sessions: their names are watched, and they end when a name is no longer valid."""

    def __init__(
        self,
        context: SessionContext,
        database: AccountingDatabase | None,
        dns: DnsClient,
        state: SessionState,
        module_socket: str | None,
    ) -> None:
        """Raises ConfigError. database: None if none is configured. module_socket: the module's control socket."""
        config = context.config
        self._accounting = Accounting(database)
        self._flusher = CacheFlusher(config.unbound.control_socket, module_socket, context.reporting)
        self._watch_list = WatchList(state.records)
        registry_map = RegistryMap(config.registry)
        recent_notices = RecentNotices(registry_map, config.registry)
        flushes = FlushScheduler(self._flusher, registry_map, context.wall)
        nases = NasDirectory.from_config(config.nas)
        disconnector = Disconnector(nases, config.disconnect.timeout, config.disconnect.tries, context.wall)
        monitor_mode = MonitorMode(context)
        self._live = LiveSessions(context, self._accounting, disconnector)
        self.pending = PendingTerminations(context, state.pending, disconnector, self._accounting, registry_map)
        parts = TerminationParts(self._live, self._watch_list, flushes, self.pending, monitor_mode, registry_map)
        self._terminator = SessionTerminator(context, parts)
        self._lookups = NameLookups(context, self._watch_list, dns, self._flusher, self._terminator, registry_map)
        self._monitor = RevocationMonitor(
            context, self._watch_list, self._live, self._lookups, self.pending, recent_notices
        )
        self.notices = NoticeHandler(
            context, self._watch_list, self._live, self._lookups, self._monitor, flushes, recent_notices
        )
        changes = AccessChanges(context, self.pending, monitor_mode, disconnector)
        self._policy_changes = PolicyChangeHandler(context, self._watch_list, self._live, self._monitor, changes)
        self._standing_changes = StandingChanges(context, self._watch_list, self._live, self._monitor, changes)

    @property
    def watched_names(self) -> list[str]:
        """The names that have live sessions."""
        return self._watch_list.names

    @property
    def error(self) -> str | None:
        """Why live sessions cannot be read. None: they can."""
        return self._live.error

    def next_request(self, item: PendingTermination) -> float:
        """When the next request for a session is due, in seconds since 1970."""
        return self.pending.due(item)

    async def run(self) -> None:
        """Run until cancelled."""
        await self._monitor.run()

    async def step(self) -> None:
        """Start everything that is due."""
        await self._monitor.step()

    async def settle(self) -> None:
        """Wait for everything in progress, for `trust-sync once`."""
        while tasks := [
            *self._lookups.tasks,
            *self._terminator.tasks,
            *self.pending.tasks,
            *self._standing_changes.tasks,
        ]:
            await asyncio.wait(tasks)
            # Callbacks of these tasks start others.
            await asyncio.sleep(0)

    async def notice(self, notice: Notice) -> None:
        """Handle a registry's notice."""
        await self.notices.notice(notice)

    async def policy_changed(self, old: Policy, new: Policy) -> None:
        """End or move the sessions whose access changes with the policy."""
        await self._policy_changes.policy_changed(old, new)

    @property
    def configured(self) -> bool:
        """Whether there is an accounting database."""
        return self._live.configured

    @property
    def waiting_standings(self) -> int:
        """The number of changes of standing that wait for accounting."""
        return self._standing_changes.waiting

    async def standing_changed(self, notice: StandingNotice) -> bool:
        """Move or end the sessions whose access changes with a standing. Returns whether that has begun."""
        return await self._standing_changes.standing_changed(notice)

    async def live_sessions(self) -> list[Session]:
        """List the live sessions of devices. Raises AccountingUnavailable."""
        return await self._live.all()

    def close(self) -> None:
        """Stop the threads."""
        self._standing_changes.close()
        self._flusher.close()
        self._accounting.close()

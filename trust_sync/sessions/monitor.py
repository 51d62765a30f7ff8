"""Watches the names with live sessions: finds them in accounting, and looks each up again when its TTL ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.live_sessions import LiveSessions
from trust_sync.sessions.name_lookups import NameLookups
from trust_sync.sessions.pending_terminations import PendingTerminations
from trust_sync.sessions.recent_notices import RecentNotices
from trust_sync.sessions.validity import watch_changes
from trust_sync.sessions.watch_list import WatchList

_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.01, 1.0
# A clock that steps back by less was corrected. By more, it was set back.
_SET_BACK_SECONDS = 60.0


class RevocationMonitor:
    """The loop that starts every lookup and every request that is due."""

    def __init__(
        self,
        context: SessionContext,
        watch_list: WatchList,
        live: LiveSessions,
        lookups: NameLookups,
        pending: PendingTerminations,
        recent_notices: RecentNotices,
    ) -> None:
        self._watch_list, self._live, self._lookups = watch_list, live, lookups
        self._pending, self._recent_notices = pending, recent_notices
        self._poll_seconds = context.config.sessions.poll
        self._metrics, self._log, self._wall = context.reporting.metrics, context.reporting.log, context.wall
        self._wake = asyncio.Event()
        self._wakes_at = self._next_poll = self._latest = 0.0
        watch_list.on_schedule = self._wake_before
        # Called with the names that have live sessions, after each poll.
        self.on_poll: Callable[[Sequence[str]], None] = lambda names: None
        # Called with the time, at least once a second.
        self.on_step: Callable[[float], None] = lambda now: None

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.step()
            except Exception:
                # A single failure must not end the monitoring.
                self._log.exception("monitoring of sessions failed")
            self._wake.clear()
            pause = self._pause()
            self._wakes_at = self._wall() + pause
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _wake_before(self, due: float) -> None:
        if due < self._wakes_at:
            self._wake.set()

    def _pause(self) -> float:
        times = [self._watch_list.next_due, self._pending.next_due, self._next_poll if self._live.configured else None]
        earliest = min((time for time in times if time is not None), default=float("inf"))
        return min(_MAX_PAUSE_SECONDS, max(_MIN_PAUSE_SECONDS, earliest - self._wall()))

    async def step(self) -> None:
        """Start everything that is due."""
        now = self._wall()
        if now < self._latest - _SET_BACK_SECONDS:
            self._clock_set_back(now)
        self._latest = now
        if self._live.configured and now >= self._next_poll:
            self._pending.correct_times(now)
            self._next_poll = now + self._poll_seconds
            await self.poll(now)
        self.on_step(now)
        for watched in self._watch_list.pop_due(now):
            self._lookups.queue(watched)
        self._pending.step(now)
        self._metrics.watched.set(len(self._watch_list))

    def _clock_set_back(self, now: float) -> None:
        """Make everything due now: a time that was set before would come too late."""
        seconds = round(self._latest - now)
        self._log.warning("clock was set back; checking everything again", seconds=seconds)
        self._next_poll = now
        for name in self._watch_list.names:
            self._watch_list.reschedule(name, now)
        self._pending.clock_set_back(now)

    async def poll(self, now: float) -> None:
        """Find the names with live sessions, if accounting can be read."""
        if not self._live.configured:
            return
        devices = await self._live.poll()
        if devices is None:
            return
        begun, ended = watch_changes(self._watch_list.names, devices)
        for name in begun:
            # A recent notice may be about the sessions that accounting shows only now.
            self._watch_list.begin(name, now, self._recent_notices.trigger_for(name, now))
        for name in ended:
            self._watch_list.remove(name)
        self.on_poll(devices)

"""Live sessions under guard: look again when a TTL ends or a feed speaks, and end the sessions of who is gone.

The decisions are in `trust_sync.standing`; here is what surrounds them. Only names with live sessions are looked up.
What registries say of others is remembered for a while, for sessions that accounting has not shown yet.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from dane_radius.core import Answer, is_within
from dane_radius.local import Logger
from policy import Grant, Policy
from trust_sync.accounting import Accounting, Devices
from trust_sync.config import Config, ConfigError
from trust_sync.disconnect import Disconnector, NasDirectory
from trust_sync.endings import Endings, Gone, facts_of
from trust_sync.flush import Flusher
from trust_sync.forget import Forgetting
from trust_sync.lanes import Lanes
from trust_sync.lookup import Lookup
from trust_sync.metrics import Metrics
from trust_sync.owners import Notices, Owners
from trust_sync.pace import Pace
from trust_sync.sessions import Session, SessionSource, SessionsUnavailable
from trust_sync.standing import Cause, Trigger, Watch, judge, watch_changes
from trust_sync.state import PendingEnd, State

_SLEEP_MAX_SECONDS = 1.0
# The clock may step back by less: a correction, not a mistake.
_SET_BACK_SECONDS = 60.0
# Looking at a whole domain reads the table of sessions.
_DOMAIN_PAUSE_SECONDS = 1.0
_URGENT = frozenset({Trigger.FEED, Trigger.REVOKED, Trigger.ROLLOVER})


class Guard:
    """Watches the names that have live sessions. Times are seconds since 1970 (`wall`), as they outlive the process."""

    def __init__(
        self,
        config: Config,
        module_socket: str | None,
        state: State,
        sessions: SessionSource | None,
        lookup: Lookup,
        policy: Callable[[], Policy],
        metrics: Metrics,
        log: Logger,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._state, self._lookup = config, state, lookup
        self._accounting, self._devices = Accounting(sessions), Devices(policy)
        self._metrics, self._log, self._wall = metrics, log, wall
        self._owners = Owners(config.registry)
        self._notices = Notices(self._owners, config.registry)
        limits, disconnect = config.sessions, config.disconnect
        self._flusher = Flusher(config.unbound.control_socket, module_socket, metrics, log)
        self._forgetting = Forgetting(self._flusher, self._owners, wall)
        self._disconnector = Disconnector(
            NasDirectory.from_config(config.nas), disconnect.timeout, disconnect.tries, wall
        )
        self.endings = Endings(
            disconnect,
            state,
            self._disconnector,
            self._accounting,
            partial(self._forgetting.names, caches=("module",)),
            self._not_read,
            self._owners.source,
            policy,
            metrics,
            log,
            wall,
        )
        self._lanes = Lanes(
            self._look,
            self._looked,
            own=limits.lookups_per_registry,
            shared=limits.lookups,
            shared_each=limits.lookups_per_domain,
        )
        self._watches: dict[str, Watch] = {}
        # When each watch is due; entries that no watch agrees with any more are passed over.
        self._due: list[tuple[float, str]] = []
        # When each registry may have a whole domain looked at again.
        self._domain_free: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._awake_at = 0.0
        self._next_poll = 0.0
        self._latest = 0.0
        self.sessions_error: str | None = None

    @property
    def watched(self) -> int:
        return len(self._watches)

    @property
    def names(self) -> list[str]:
        """The names that have live sessions."""
        return list(self._watches)

    def due(self, end: PendingEnd) -> float:
        """When a session that should be over is asked for next."""
        return self.endings.due(end)

    def close(self) -> None:
        """End the threads."""
        self._flusher.close()
        self._accounting.close()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.step()
            except Exception:
                # Guarding must outlive any single failure of it.
                self._log.exception("guarding sessions failed")
            self._wake.clear()
            pause = self._pause()
            self._awake_at = self._wall() + pause
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pause(self) -> float:
        due = [self._due[0][0]] if self._due else []
        if self.endings.next_due is not None:
            due.append(self.endings.next_due)
        if self._accounting.configured:
            due.append(self._next_poll)
        return min(_SLEEP_MAX_SECONDS, max(0.01, min(due, default=1e18) - self._wall()))

    async def step(self) -> None:
        """Start whatever is due now."""
        now = self._wall()
        set_back = self._follow_clock(now)
        poll_is_due = self._accounting.configured and now >= self._next_poll
        if poll_is_due or set_back:
            self.endings.follow_clock(now, set_back=set_back)
        if poll_is_due:
            self._next_poll = now + self._config.sessions.poll
            await self._poll(now)
        while self._due and self._due[0][0] <= now:
            due, name = heapq.heappop(self._due)
            watch = self._watches.get(name)
            if watch is not None and watch.due == due:
                self._queue(watch)
        self.endings.step(now)
        self._metrics.names_watched.set(len(self._watches))

    def _follow_clock(self, now: float) -> bool:
        """Where the clock was set back, no time that was set before holds: it would come when the clock is there again.

        Returns whether it was.
        """
        set_back = now < self._latest - _SET_BACK_SECONDS
        if set_back:
            self._log.warning(
                "the clock was set back; everything is looked at again", seconds=round(self._latest - now)
            )
            self._next_poll = now
            for watch in list(self._watches.values()):
                self._watch(replace(watch, due=now))
        self._latest = now
        return set_back

    async def settle(self) -> None:
        """Wait for what is under way: for `trust-sync once`."""
        while tasks := [*self._lanes.tasks, *self.endings.tasks]:
            await asyncio.wait(tasks)
            # What follows from it is started by callbacks.
            await asyncio.sleep(0)

    # accounting

    async def _poll(self, now: float) -> None:
        """Which names have live sessions, and the NAS table."""
        if not self._accounting.configured:
            return
        try:
            users = await self._accounting.names()
            rows = await self._accounting.nas_secrets() if self._config.sessions.nas_table else []
        except SessionsUnavailable as error:
            self._sessions_failed(error)
            return
        self._nases_known(rows)
        new, gone = watch_changes(self._watches, await self._devices.all_of(users))
        for name in new:
            self._begin(name, now)
        for name in gone:
            self._watches.pop(name, None)
            self._state.records.pop(name, None)

    def _begin(self, name: str, now: float) -> None:
        """Watch a name. What a registry said of it a while ago may be about these very sessions."""
        records = self._state.records.get(name)
        trigger = self._notices.of(name, now)
        self._watch(Watch(name, now, frozenset(records) if records else None, trigger=trigger))

    def _watch(self, watch: Watch) -> None:
        self._watches[watch.name] = watch
        heapq.heappush(self._due, (watch.due, watch.name))
        if watch.due < self._awake_at:
            self._wake.set()

    def _nases_known(self, rows: Sequence[tuple[str, str]]) -> None:
        try:
            self._disconnector.directory = NasDirectory.from_config(self._config.nas, rows)
        except ConfigError as error:
            # A secret that cannot be read just now: the ones that were read before go on being used.
            if self.sessions_error is None:
                self._log.error("secrets of NASes not read again; the old ones are used", error=str(error))
            self.sessions_error = str(error)
        else:
            self.sessions_error = None

    def _sessions_failed(self, error: SessionsUnavailable) -> None:
        self._metrics.sessions_unavailable.inc()
        if self.sessions_error is None:
            self._log.error("live sessions cannot be read; they are asked for again", error=str(error))
        self.sessions_error = str(error)

    def _not_read(self, names: Sequence[str], error: SessionsUnavailable) -> None:
        """The sessions of names that are gone could not be read: the names are looked at again."""
        self._sessions_failed(error)
        for name in names:
            watch = self._watches.get(name)
            if watch is not None:
                self._watch(replace(watch, due=self._wall() + 1.0))

    # what registries say

    async def notice(self, registry: str, names: Mapping[str, Trigger], domains: Mapping[str, Trigger]) -> None:
        """A registry says that something changed about names, or about all names of domains.

        They are forgotten everywhere, and those with live sessions are looked up: when this returns, they are queued.
        It may take a second: what one registry says delays what the same one says next, and nothing else.
        """
        noticed = self._wall()
        for name, trigger in names.items():
            self._notices.add(registry, name, trigger, noticed)
        live, _ = await asyncio.gather(self._live(list(names)), self._forgetting.names(list(names), registry=registry))
        for name in sorted(live, key=lambda name: names[name] is not Trigger.REVOKED):
            self._changed(name, names[name], noticed)
        if domains:
            await self._domains_changed(registry, domains)

    async def _live(self, names: Sequence[str]) -> list[str]:
        """Those of some names that have live sessions."""
        found = {name for name in names if name in self._watches}
        others = [name for name in names if name not in found]
        try:
            found.update(await self._devices.among(await self._accounting.live(others)))
        except SessionsUnavailable as error:
            # Where there are sessions, the next look at the table that succeeds shows them as new.
            self._sessions_failed(error)
        return [name for name in names if name in found]

    async def _domains_changed(self, registry: str, domains: Mapping[str, Trigger]) -> None:
        wait = self._domain_free.get(registry, 0.0) - self._wall()
        # A longer one was set before the clock was set back.
        if 0 < wait <= _DOMAIN_PAUSE_SECONDS:
            await asyncio.sleep(wait)
        noticed = self._wall()
        self._domain_free[registry] = noticed + _DOMAIN_PAUSE_SECONDS
        await asyncio.gather(self._poll(noticed), self._forgetting.below(list(domains), registry=registry))
        pace = Pace()
        for name in list(self._watches):
            await pace.rest()
            trigger = next((domains[d] for d in domains if is_within(name, d)), None)
            if trigger is not None:
                self._changed(name, trigger, noticed)

    def _changed(self, name: str, trigger: Trigger, noticed: float) -> None:
        watch = self._watches.get(name)
        if watch is None:
            records = self._state.records.get(name)
            watch = Watch(name, noticed, frozenset(records) if records else None)
        watch = replace(watch, due=noticed, trigger=trigger, attempts=0)
        self._watches[name] = watch
        self._queue(watch)

    # looking

    def _queue(self, watch: Watch) -> None:
        own = self._owners.registry(watch.name) is not None
        self._lanes.put(self._owners.source(watch.name), watch.name, own=own, urgent=watch.trigger in _URGENT)

    def _looked(self, name: str) -> None:
        """A look has ended: where there was a change meanwhile, another one is due."""
        watch = self._watches.get(name)
        if watch is not None and watch.due <= self._wall():
            self._queue(watch)

    async def _look(self, name: str) -> None:
        try:
            await self._look_now(name)
        except Exception:
            self._log.exception("name not looked at; it is tried again", name=name)
            watch = self._watches.get(name)
            if watch is not None:
                self._watch(replace(watch, due=self._wall() + 1.0))

    async def _look_now(self, name: str) -> None:
        watch = self._watches.get(name)
        if watch is None:
            return
        noticed = min(watch.due, self._wall())
        if (watch.trigger is Trigger.TTL) == (not watch.attempts):
            # Due by its TTL: resolvers count whole seconds, and one may hold the old answer for a second more. Or told
            # of a revocation that the DNS did not show: the resolver has kept that answer.
            await self._flusher.names([name], caches=("unbound",))
        answer = await self._lookup.tlsa(name)
        if self._watches.get(name) is not watch:
            # Gone, or changed since it was asked: the answer may be older than the change. It is due again.
            return
        judgement = judge(watch, answer, self._wall(), self._config.sessions.recheck_min)
        self._watch(judgement.watch)
        if judgement.watch.records is not None:
            self._state.records[name] = sorted(judgement.watch.records)
        if judgement.watch.attempts and judgement.end is None:
            self._log.warning("name not settled; asked again", name=name, answer=_describe(answer))
        if judgement.end is not None:
            self.endings.end_name(Gone(name, judgement.end, noticed))

    # policy

    async def policy_changed(self, old: Policy, new: Policy) -> None:
        """End, or move, the sessions whose access is another one under the new policy."""
        # Those that only the old policy spoke of are among them.
        names = set(self._watches)
        await self._poll(self._wall())
        try:
            sessions = await self._accounting.of(sorted(names | set(self._watches)))
        except SessionsUnavailable as error:
            self._sessions_failed(error)
            return
        pace = Pace()
        for session in sessions:
            await pace.rest()
            before, after = _grant(old, session), _grant(new, session)
            if before is None or before == after:
                continue
            if after is None and self.endings.is_spared(session, Cause.POLICY, self._wall()):
                continue
            vlan = self._vlan_change(session, before, after)
            pending = self._state.pending.get(session.unique_id)
            if pending is None:
                self.endings.end(session, Cause.POLICY, self._wall(), vlan=vlan)
            elif pending.vlan is not None:
                pending.vlan = vlan

    def _vlan_change(self, session: Session, before: Grant, after: Grant | None) -> str | None:
        """The new VLAN, when that is all that changes and the NAS takes CoA-Requests."""
        nas = self._disconnector.directory.find(session.nas)
        if nas is None or not nas.coa or after is None or after.vlan is None:
            return None
        return str(after.vlan) if replace(before, vlan=after.vlan) == after else None


def _grant(policy: Policy, session: Session) -> Grant | None:
    return policy.match(session.name, facts_of(session)).grant


def _describe(answer: Answer) -> str:
    return type(answer).__name__.lower()

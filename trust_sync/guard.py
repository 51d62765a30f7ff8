"""Live sessions under guard: look again when a TTL ends or a feed speaks, and end the sessions of who is gone.

The decisions are in `trust_sync.standing`; here is what surrounds them. A session that should be over is asked for
until its NAS says so, its accounting record ends, or the configured time is up; it is never forgotten in silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dane_radius.answers import Answer
from dane_radius.limits import RecentlySeen
from dane_radius.log import Logger
from dane_radius.names import normalize
from dane_radius.reasons import Refused
from policy import Grant, Policy, RequestFacts
from policy.matching import ssid_of
from trust_sync.config import Config, ConfigError
from trust_sync.disconnect import Disconnector, NasDirectory, Reply, Result
from trust_sync.flush import FlushFailed, flush_module, flush_unbound
from trust_sync.lookup import Lookup
from trust_sync.metrics import Metrics
from trust_sync.sessions import Session, SessionSource, SessionsUnavailable
from trust_sync.standing import Cause, Trigger, Watch, judge, retry_after, watch_changes
from trust_sync.state import PendingEnd, State

_MAX_CONCURRENT_LOOKS = 8
_SLEEP_MAX_SECONDS = 1.0
_OVER_SECONDS = 300.0
# The clock may step back by less: a correction, not a mistake.
_SET_BACK_SECONDS = 60.0
# How often the log says of a session that it would be ended, if policy did not only monitor.
_SPARED_SECONDS = 3600.0


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
        self._config, self._module_socket, self._state = config, module_socket, state
        self._sessions, self._lookup, self._metrics, self._log, self._wall = sessions, lookup, metrics, log, wall
        self._policy = policy
        self._disconnector = Disconnector(
            NasDirectory.from_config(config.nas), config.disconnect.timeout, config.disconnect.tries, wall
        )
        self._watches: dict[str, Watch] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        # Sessions that a NAS has ended: their accounting records may take a while, or never, to say so.
        self._over = RecentlySeen(_OVER_SECONDS, 100_000)
        self._spared = RecentlySeen(_SPARED_SECONDS, 100_000)
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT_LOOKS)
        self._wake = asyncio.Event()
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

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.step()
            except Exception:
                # Guarding must outlive any single failure of it.
                self._log.exception("guarding sessions failed")
            self._wake.clear()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _pause(self) -> float:
        due = [watch.due for name, watch in self._watches.items() if name not in self._looking]
        due += [end.due for key, end in self._state.pending.items() if key not in self._ending]
        if self._sessions is not None:
            due.append(self._next_poll)
        return min(_SLEEP_MAX_SECONDS, max(0.01, min(due, default=1e18) - self._wall()))

    async def step(self) -> None:
        """Start whatever is due now."""
        now = self._wall()
        self._follow_clock(now)
        if self._sessions is not None and now >= self._next_poll:
            self._next_poll = now + self._config.sessions.poll
            await self._poll(now)
        for watch in list(self._watches.values()):
            if watch.due <= now:
                self._look(watch.name, now)
        for key, end in list(self._state.pending.items()):
            if end.due <= now and key not in self._ending:
                self._start_end(key, end)
        self._metrics.names_watched.set(len(self._watches))
        self._metrics.disconnects_pending.set(len(self._state.pending))

    def _follow_clock(self, now: float) -> None:
        """Where the clock was set back, all appointments are off: they would be kept when it comes round again."""
        if now < self._latest - _SET_BACK_SECONDS:
            self._log.warning(
                "the clock was set back; everything is looked at again", seconds=round(self._latest - now)
            )
            self._next_poll = now
            self._over = RecentlySeen(_OVER_SECONDS, 100_000)
            for name, watch in self._watches.items():
                self._watches[name] = replace(watch, due=now)
        self._latest = now
        for end in self._state.pending.values():
            if end.due > now + self._config.disconnect.retry_max:
                end.due, end.noticed = now, min(end.noticed, now)

    async def settle(self) -> None:
        """Wait for what is under way: for `trust-sync once`."""
        while tasks := [*self._looking.values(), *self._ending.values()]:
            await asyncio.wait(tasks)

    async def _poll(self, now: float) -> None:
        """Which names have live sessions, and the NAS table."""
        if self._sessions is None:
            return
        try:
            names = await asyncio.to_thread(self._sessions.names)
            rows = await asyncio.to_thread(self._sessions.nas_secrets) if self._config.sessions.nas_table else []
        except SessionsUnavailable as error:
            self._sessions_failed(error)
            return
        self._nases_known(rows)
        new, gone = watch_changes(self._watches, filter(self._is_ours, names))
        for name in new:
            records = self._state.records.get(name)
            self._watches[name] = Watch(name, now, frozenset(records) if records else None)
        for name in gone:
            self._watches.pop(name, None)
            self._state.records.pop(name, None)

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

    def _is_ours(self, name: str) -> bool:
        """Whether a session's user is a device that policy speaks of.

        The table may hold others, let in by passwords or another CA: no TLSA record of theirs means nothing.
        """
        try:
            return normalize(name.encode("utf-8", "surrogatepass")) == name and self._policy().selects(name)
        except Refused:
            return False

    def _sessions_failed(self, error: SessionsUnavailable) -> None:
        self._metrics.sessions_unavailable.inc()
        if self.sessions_error is None:
            self._log.error("live sessions cannot be read; they are asked for again", error=str(error))
        self.sessions_error = str(error)

    # looking

    async def changed(self, name: str, trigger: Trigger) -> None:
        """A feed says that something about `name` changed: forget it everywhere, and look."""
        noticed = self._wall()
        await self.flush(name)
        watch = self._watches.get(name)
        if watch is None:
            records = self._state.records.get(name)
            watch = Watch(name, noticed, frozenset(records) if records else None)
        self._watches[name] = replace(watch, due=noticed, trigger=trigger, attempts=0)
        self._look(name, noticed)

    async def domain_changed(self, domain: str, trigger: Trigger) -> None:
        """The same for every name with live sessions under a domain."""
        if self._sessions is not None:
            await self._poll(self._wall())
        await self.flush(domain, below=True)
        for name in [n for n in self._watches if n == domain or n.endswith("." + domain)]:
            await self.changed(name, trigger)

    async def flush(self, name: str, *, below: bool = False) -> None:
        """Make the resolver and the module forget a name (`below`: and all under it, keys of zones included).

        Failures are reported; TTLs then bound the delay.
        """
        await self._flush_resolver(name, below=below)
        if self._module_socket is not None:
            await self._flush_cache("module", flush_module, self._module_socket, name, below=below)

    async def _flush_resolver(self, name: str, *, below: bool = False) -> None:
        socket = self._config.unbound.control_socket
        if socket is not None:
            await self._flush_cache("unbound", flush_unbound, socket, name, below=below)

    async def _flush_cache(
        self, cache: str, function: Callable[..., None], socket: str, name: str, *, below: bool
    ) -> None:
        try:
            await asyncio.to_thread(function, socket, name, below=below)
        except FlushFailed as error:
            self._metrics.flush_failures.labels(cache).inc()
            self._log.warning("cache not flushed; its TTL bounds the delay", cache=cache, error=str(error))

    def _look(self, name: str, noticed: float) -> None:
        if name not in self._looking:
            task = asyncio.create_task(self._look_now(name, noticed), name=f"look {name}")
            self._looking[name] = task
            task.add_done_callback(lambda _: self._looked(name))

    def _looked(self, name: str) -> None:
        self._looking.pop(name, None)
        self._wake.set()

    async def _look_now(self, name: str, noticed: float) -> None:
        async with self._slots:
            watch = self._watches.get(name)
            if watch is not None and watch.trigger is Trigger.TTL and not watch.attempts:
                # Due by its TTL. Resolvers count whole seconds: one may hold the old answer for a second more.
                await self._flush_resolver(name)
            answer = await self._lookup.tlsa(name)
        if watch is None or self._watches.get(name) is not watch:
            # Gone, or changed since it was asked: the answer may be older than the change. It is due again.
            return
        judgement = judge(watch, answer, self._wall(), self._config.sessions.recheck_min)
        self._watches[name] = judgement.watch
        if judgement.watch.records is not None:
            self._state.records[name] = sorted(judgement.watch.records)
        if judgement.watch.attempts and judgement.end is None:
            self._log.warning("name not settled; asked again", name=name, answer=_describe(answer))
        if judgement.end is not None:
            await self._end_all(name, judgement.end, noticed)

    # ending

    async def _end_all(self, name: str, cause: Cause, noticed: float) -> None:
        if self._sessions is None:
            return
        # The module must not admit it again on what it remembers.
        await self.flush(name)
        try:
            sessions = await asyncio.to_thread(self._sessions.of, name)
        except SessionsUnavailable as error:
            self._sessions_failed(error)
            self._watches[name] = replace(self._watches[name], due=self._wall() + 1.0)
            return
        now = self._wall()
        for session in sessions:
            pending = self._state.pending.get(session.unique_id)
            if pending is not None and pending.vlan is not None:
                # It was only to be moved; that is not enough any more.
                pending.vlan, pending.cause, pending.due = None, cause, now
        fresh = [
            session
            for session in sessions
            if session.unique_id not in self._state.pending
            and (session.unique_id, now) not in self._over
            and not self._is_spared(session, cause, now)
        ]
        if fresh:
            self._metrics.revocations.labels(cause).inc()
            self._log.warning("ending sessions", name=name, cause=str(cause), sessions=len(fresh))
        for session in fresh:
            self.end(session, cause, noticed)
        if cause is Cause.ABSENT:
            self._state.records.pop(name, None)

    def _is_spared(self, session: Session, cause: Cause, now: float) -> bool:
        """Whether policy only monitors there: then the module would let the device in again, refused or not."""
        policy = self._policy()
        if not policy.is_monitored(policy.match(session.name, _facts(session)).rule):
            return False
        if (session.unique_id, now) not in self._spared:
            self._spared.add(session.unique_id, now)
            self._log.warning(
                "session would be ended, but policy only monitors",
                name=session.name, nas=session.nas, station=session.station, cause=str(cause),
            )  # fmt: skip
        return True

    def end(self, session: Session, cause: Cause, noticed: float, vlan: str | None = None) -> None:
        """Have a session ended (or moved to `vlan`), however long it takes."""
        pending = PendingEnd(session, cause, noticed, self._wall(), vlan=vlan)
        self._state.pending[session.unique_id] = pending
        self._start_end(session.unique_id, pending)

    def _start_end(self, key: str, end: PendingEnd) -> None:
        task = asyncio.create_task(self._end_now(key, end), name=f"end {key}")
        self._ending[key] = task
        task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: str) -> None:
        self._ending.pop(key, None)
        self._wake.set()

    async def _end_now(self, key: str, end: PendingEnd) -> None:
        if end.attempts and await self._over_by_accounting(end.session):
            self._finish(key, end, "accounting says that the session is over")
            return
        vlan = end.vlan
        if vlan is None:
            reply = await self._disconnector.end(end.session)
        else:
            reply = await self._disconnector.move(end.session, vlan)
            if end.vlan != vlan:
                # Meanwhile it is to be elsewhere, or nowhere.
                end.due = self._wall()
                return
            if reply.result is Result.NAK:
                # RFC 5176 section 3.5: it cannot or will not. The session is ended, and comes back as it should be.
                end.vlan = None
                reply = await self._disconnector.end(end.session)
        self._metrics.disconnects.labels(reply.result).inc()
        self._account(key, end, reply)

    def _account(self, key: str, end: PendingEnd, reply: Reply) -> None:
        now = self._wall()
        end.attempts += 1
        end.last_reply = str(reply)
        fields: dict[str, Any] = {
            "name": end.session.name, "nas": end.session.nas, "station": end.session.station,
            "session": end.session.session_id, "cause": str(end.cause), "attempts": end.attempts, "reply": str(reply),
        }  # fmt: skip
        if reply.result.over:
            self._metrics.revocation_seconds.observe(max(0.0, now - end.noticed))
            self._finish(key, end, str(reply))
        elif now - end.noticed >= self._config.disconnect.give_up:
            self._state.pending.pop(key, None)
            self._log.error("session not ended, and given up", **fields)
        else:
            limits = self._config.disconnect
            end.due = now + retry_after(end.attempts, limits.retry_min, limits.retry_max)
            self._log.error("session not ended; it is tried again", **fields, retry_seconds=round(end.due - now, 1))

    def _finish(self, key: str, end: PendingEnd, how: str) -> None:
        self._state.pending.pop(key, None)
        if end.vlan is None:
            # One that was moved lives on.
            self._over.add(key, self._wall())
        self._log.info(
            "session over",
            name=end.session.name,
            nas=end.session.nas,
            station=end.session.station,
            cause=str(end.cause),
            how=how,
            seconds=round(max(0.0, self._wall() - end.noticed), 3),
        )

    async def _over_by_accounting(self, session: Session) -> bool:
        if self._sessions is None:
            return False
        try:
            return not await asyncio.to_thread(self._sessions.is_live, session)
        except SessionsUnavailable:
            return False

    # policy

    async def policy_changed(self, old: Policy, new: Policy) -> None:
        """End, or move, the sessions whose access is another one under the new policy."""
        if self._sessions is None:
            return
        # Those that only the old policy spoke of are among them.
        names = set(self._watches)
        await self._poll(self._wall())
        for name in sorted(names | set(self._watches)):
            try:
                sessions = await asyncio.to_thread(self._sessions.of, name)
            except SessionsUnavailable as error:
                self._sessions_failed(error)
                return
            for session in sessions:
                before, after = _grant(old, session), _grant(new, session)
                if before is None or before == after:
                    continue
                if after is None and self._is_spared(session, Cause.POLICY, self._wall()):
                    continue
                vlan = self._vlan_change(session, before, after)
                pending = self._state.pending.get(session.unique_id)
                if pending is None:
                    self.end(session, Cause.POLICY, self._wall(), vlan=vlan)
                elif pending.vlan is not None:
                    pending.vlan = vlan

    def _vlan_change(self, session: Session, before: Grant, after: Grant | None) -> str | None:
        """The new VLAN, when that is all that changes and the NAS takes CoA-Requests."""
        nas = self._disconnector.directory.find(session.nas)
        if nas is None or not nas.coa or after is None or after.vlan is None:
            return None
        return str(after.vlan) if replace(before, vlan=after.vlan) == after else None


def _facts(session: Session) -> RequestFacts:
    return RequestFacts(
        ssid=ssid_of(session.called_station),
        nas_address=session.nas or None,
        nas_port_type=session.port_type or None,
        calling_station_id=session.station or None,
    )


def _grant(policy: Policy, session: Session) -> Grant | None:
    return policy.match(session.name, _facts(session)).grant


def _describe(answer: Answer) -> str:
    return type(answer).__name__.lower()

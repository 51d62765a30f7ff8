"""Sessions that should be over: asked for until their NAS says so, accounting does, or the configured time is up.

None is forgotten in silence. What is pending is in the state file, and outlives the process.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dane_radius.local import Logger, RecentlySeen
from policy import Policy, RequestFacts
from policy.matching import ssid_of
from trust_sync.accounting import Accounting
from trust_sync.config import DisconnectConfig
from trust_sync.disconnect import Disconnector
from trust_sync.fair import FairQueue
from trust_sync.metrics import Metrics
from trust_sync.nas_queue import NasQueue, Ticket
from trust_sync.pace import Pace
from trust_sync.radius import Reply, Result
from trust_sync.sessions import Session, SessionsUnavailable
from trust_sync.standing import Cause, retry_after
from trust_sync.state import PendingEnd, State

_OVER_SECONDS = 300.0
# How often the log says of a session that it would be ended, if policy did not only monitor.
_SPARED_SECONDS = 3600.0
_NAMES_AT_ONCE = 200


@dataclass(frozen=True)
class Gone:
    """A name whose sessions are to end. noticed: when that was learned, in seconds since 1970."""

    name: str
    cause: Cause
    noticed: float


class Endings:
    """Ends sessions. Times are seconds since 1970 (`wall`).

    forget: makes the module forget names, which must not admit them again on what it remembers. failed: told of names
    whose sessions could not be read. source: whose name it is; none waits for all that another one has to be ended.
    """

    def __init__(
        self,
        config: DisconnectConfig,
        state: State,
        disconnector: Disconnector,
        accounting: Accounting,
        forget: Callable[[Sequence[str]], Awaitable[None]],
        failed: Callable[[Sequence[str], SessionsUnavailable], None],
        source: Callable[[str], str],
        policy: Callable[[], Policy],
        metrics: Metrics,
        log: Logger,
        wall: Callable[[], float],
    ) -> None:
        self._config, self._state, self._disconnector, self._accounting = config, state, disconnector, accounting
        self._forget, self._failed, self._source, self._policy = forget, failed, source, policy
        self._metrics, self._log, self._wall = metrics, log, wall
        self._queue = NasQueue(config.in_flight, config.in_flight_per_nas, config.retry_min, config.retry_max)
        disconnector.on_silence = self._queue.lost
        self._gone: dict[str, Gone] = {}
        self._order = FairQueue()
        self._draining: asyncio.Task[None] | None = None
        self._asking: dict[str, asyncio.Task[None]] = {}
        # When sessions are to be asked for again, whose NAS answered.
        self._due: list[tuple[float, str]] = [(end.due, key) for key, end in state.pending.items()]
        heapq.heapify(self._due)
        # Sessions that a NAS has ended: their accounting records may take a while, or never, to say so.
        self._over = RecentlySeen(_OVER_SECONDS, 100_000)
        self._spared = RecentlySeen(_SPARED_SECONDS, 100_000)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way."""
        return [*self._asking.values(), *([self._draining] if self._draining else [])]

    @property
    def next_due(self) -> float | None:
        """When `step` is needed next."""
        times = [self._due[0][0]] if self._due else []
        if self._queue.next_due is not None:
            times.append(self._queue.next_due)
        return min(times, default=None)

    def due(self, end: PendingEnd) -> float:
        """When a session is asked for next."""
        return max(end.due, self._queue.due(end.session.nas))

    def step(self, now: float) -> None:
        """Ask for what is due."""
        while self._due and self._due[0][0] <= now:
            _, key = heapq.heappop(self._due)
            end = self._state.pending.get(key)
            if end is not None and end.due <= now and key not in self._asking:
                self._enqueue(key, end)
        self._go_on()
        self._metrics.disconnects_pending.set(len(self._state.pending))

    def follow_clock(self, now: float, *, set_back: bool) -> None:
        """Where the clock was set back: what is due far ahead is due now, and nothing is over that was so later."""
        if set_back:
            self._over = RecentlySeen(_OVER_SECONDS, 100_000)
        far = [key for key, end in self._state.pending.items() if end.due > now + self._config.retry_max]
        for key in far:
            end = self._state.pending[key]
            end.due, end.noticed = now, min(end.noticed, now)
            heapq.heappush(self._due, (now, key))
        if far or set_back:
            self._queue.hurry()

    # names

    def end_name(self, gone: Gone) -> None:
        """End all sessions of a name. Those that come while others are being dealt with are dealt with together."""
        self._gone[gone.name] = gone
        self._order.put(self._source(gone.name), gone.name)
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="end names")

    async def _drain(self) -> None:
        try:
            while self._gone:
                some = [self._gone.pop(self._order.pop()) for _ in range(min(len(self._gone), _NAMES_AT_ONCE))]
                try:
                    await self._end_names({gone.name: gone for gone in some})
                except SessionsUnavailable as error:
                    self._failed([gone.name for gone in some], error)
                except Exception:
                    self._log.exception("sessions not ended")
                    self._failed([gone.name for gone in some], SessionsUnavailable("internal error"))
        finally:
            self._draining = None

    async def _end_names(self, gone: dict[str, Gone]) -> None:
        """Raises SessionsUnavailable."""
        await self._forget(list(gone))
        found: dict[str, list[Session]] = {name: [] for name in gone}
        for session in await self._accounting.of(list(gone)):
            if session.name in found:
                found[session.name].append(session)
        pace = Pace()
        for name, sessions in found.items():
            await pace.rest()
            self._end_sessions(gone[name], sessions)
            if gone[name].cause is Cause.ABSENT:
                self._state.records.pop(name, None)
        self._go_on()

    def _end_sessions(self, gone: Gone, sessions: Sequence[Session]) -> None:
        now = self._wall()
        for session in sessions:
            pending = self._state.pending.get(session.unique_id)
            if pending is not None and pending.vlan is not None:
                # It was only to be moved; that is not enough any more.
                pending.vlan, pending.cause, pending.due = None, gone.cause, now
                self._enqueue(session.unique_id, pending)
        fresh = [
            session
            for session in sessions
            if session.unique_id not in self._state.pending
            and (session.unique_id, now) not in self._over
            and not self.is_spared(session, gone.cause, now)
        ]
        if fresh:
            self._metrics.revocations.labels(gone.cause).inc()
            self._log.warning("ending sessions", name=gone.name, cause=str(gone.cause), sessions=len(fresh))
        for session in fresh:
            self._add(session, gone.cause, gone.noticed)

    def is_spared(self, session: Session, cause: Cause, now: float) -> bool:
        """Whether policy only monitors there: then the module would let the device in again, refused or not."""
        policy = self._policy()
        if not policy.is_monitored(policy.match(session.name, facts_of(session)).rule):
            return False
        if (session.unique_id, now) not in self._spared:
            self._spared.add(session.unique_id, now)
            self._log.warning(
                "session would be ended, but policy only monitors",
                name=session.name, nas=session.nas, station=session.station, cause=str(cause),
            )  # fmt: skip
        return True

    # sessions

    def end(self, session: Session, cause: Cause, noticed: float, vlan: str | None = None) -> None:
        """Have a session ended (or moved to `vlan`), however long it takes."""
        self._add(session, cause, noticed, vlan)
        self._go_on()

    def _add(self, session: Session, cause: Cause, noticed: float, vlan: str | None = None) -> None:
        pending = PendingEnd(session, cause, noticed, self._wall(), vlan=vlan)
        self._state.pending[session.unique_id] = pending
        self._enqueue(session.unique_id, pending)

    def _enqueue(self, key: str, end: PendingEnd) -> None:
        if key not in self._asking:
            source = self._source(end.session.name)
            self._queue.put(end.session.nas, key, source, urgent=end.cause is not Cause.POLICY)

    def _go_on(self) -> None:
        """Send as many requests as may be under way."""
        while (ticket := self._queue.take(self._wall())) is not None:
            task = asyncio.create_task(self._ask(ticket), name=f"end {ticket.key}")
            self._asking[ticket.key] = task

    async def _ask(self, ticket: Ticket) -> None:
        end = self._state.pending.get(ticket.key)
        reached: bool | None = None
        try:
            if end is not None:
                reached = await self._ask_for(ticket.key, end)
        except Exception:
            self._log.exception("session not asked for")
            if end is not None:
                self._again(ticket.key, end)
        finally:
            del self._asking[ticket.key]
        end = self._state.pending.get(ticket.key)
        if end is not None and (reached is False or end.due <= self._wall()):
            self._enqueue(ticket.key, end)
        if self._queue.done(ticket, self._wall(), reached=reached):
            self._silent(ticket.nas)
        if end is not None and reached is False:
            end.due = self._queue.due(ticket.nas)
        self._go_on()

    async def _ask_for(self, key: str, end: PendingEnd) -> bool | None:
        """One request; whether the NAS answered it. None: it was not asked, as the session is over."""
        if end.attempts and await self._over_by_accounting(end.session):
            self._finish(key, end, "accounting says that the session is over")
            return None
        vlan = end.vlan
        if vlan is None:
            reply = await self._disconnector.end(end.session)
        else:
            reply = await self._disconnector.move(end.session, vlan)
            if end.vlan != vlan:
                # Meanwhile it is to be elsewhere, or nowhere.
                end.due = self._wall()
                return not reply.result.unreached
            if reply.result is Result.NAK:
                # RFC 5176 section 3.5: it cannot or will not. The session is ended, and comes back as it should be.
                end.vlan = None
                reply = await self._disconnector.end(end.session)
        self._metrics.disconnects.labels(reply.result).inc()
        self._account(key, end, reply)
        return None if reply.result is Result.ERROR else not reply.result.unreached

    def _account(self, key: str, end: PendingEnd, reply: Reply) -> None:
        end.attempts += 1
        end.last_reply = str(reply)
        if reply.result.over:
            self._metrics.revocation_seconds.observe(max(0.0, self._wall() - end.noticed))
            self._finish(key, end, str(reply))
        elif not self._gave_up(key, end) and not reply.result.unreached:
            self._again(key, end)
            self._log.error(
                "session not ended; it is tried again",
                **_fields(end), retry_seconds=round(end.due - self._wall(), 1),
            )  # fmt: skip

    def _again(self, key: str, end: PendingEnd) -> None:
        """Ask for a session again, later than the last time."""
        end.due = self._wall() + retry_after(end.attempts, self._config.retry_min, self._config.retry_max)
        heapq.heappush(self._due, (end.due, key))

    def _silent(self, nas: str) -> None:
        """A NAS does not answer: its sessions wait."""
        waiting = self._queue.keys(nas)
        if not waiting:
            return
        reply = next(
            (e.last_reply for k in reversed(waiting) if (e := self._state.pending.get(k)) and e.last_reply), ""
        )
        self._log.error(
            "NAS not reached; it is tried again, and its sessions wait",
            nas=nas, sessions=len(waiting), reply=reply,
            retry_seconds=round(max(0.0, self._queue.due(nas) - self._wall()), 1),
        )  # fmt: skip
        for key in waiting:
            end = self._state.pending.get(key)
            if end is not None:
                self._gave_up(key, end)

    def _gave_up(self, key: str, end: PendingEnd) -> bool:
        if self._wall() - end.noticed < self._config.give_up:
            return False
        self._state.pending.pop(key, None)
        self._queue.forget(key, end.session.nas)
        self._log.error("session not ended, and given up", **_fields(end))
        return True

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
        try:
            return not await self._accounting.is_live(session)
        except SessionsUnavailable:
            return False


def facts_of(session: Session) -> RequestFacts:
    """What policy may look at, as far as accounting knows it."""
    return RequestFacts(
        ssid=ssid_of(session.called_station),
        nas_address=session.nas or None,
        nas_port_type=session.port_type or None,
        calling_station_id=session.station or None,
    )


def _fields(end: PendingEnd) -> dict[str, Any]:
    return {
        "name": end.session.name, "nas": end.session.nas, "station": end.session.station,
        "session": end.session.session_id, "cause": str(end.cause), "attempts": end.attempts, "reply": end.last_reply,
    }  # fmt: skip

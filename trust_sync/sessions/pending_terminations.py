"""Repeats requests until each session has ended: by the NAS's reply, by accounting, or by the configured time limit.

Pending terminations are part of the state file, so they outlive the process. Each one that is given up is logged.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from typing import Any

from dane_radius.local import RecentlySeen
from trust_sync.sessions.access import Access
from trust_sync.sessions.accounting import Accounting
from trust_sync.sessions.accounting_database import AccountingUnavailable
from trust_sync.sessions.context import SessionContext
from trust_sync.sessions.disconnector import Disconnector
from trust_sync.sessions.nas_queue import NasQueue, NasResponse, Ticket
from trust_sync.sessions.radius import Reply, Result
from trust_sync.sessions.registry_map import RegistryMap
from trust_sync.sessions.session import Session
from trust_sync.sessions.state import PendingTermination
from trust_sync.sessions.validity import TerminationCause
from trust_sync.shared import retry_delay

# Accounting may show a session that its NAS has ended for this long, or longer if the Stop record is lost.
_ENDED_SECONDS = 300.0
_MAX_ENDED = 100_000


class PendingTerminations:
    """The sessions that are to be ended or moved. pending: by unique session ID; the caller saves it."""

    def __init__(
        self,
        context: SessionContext,
        pending: dict[str, PendingTermination],
        disconnector: Disconnector,
        accounting: Accounting,
        registry_map: RegistryMap,
    ) -> None:
        self._config, self._pending = context.config.disconnect, pending
        self._disconnector, self._accounting, self._registry_map = disconnector, accounting, registry_map
        self._metrics, self._log, self._wall = context.reporting.metrics, context.reporting.log, context.wall
        limits = self._config
        self._queue = NasQueue(limits.in_flight, limits.in_flight_per_nas, limits.retry_min, limits.retry_max)
        disconnector.on_silence = self._queue.transmission_lost
        self._requests: dict[str, asyncio.Task[None]] = {}
        # When the next request is due for each session whose NAS answered.
        self._due: list[tuple[float, str]] = [(item.due, key) for key, item in pending.items()]
        heapq.heapify(self._due)
        self._ended = RecentlySeen(_ENDED_SECONDS, _MAX_ENDED)
        self._acknowledged: OrderedDict[str, float] = OrderedDict()

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The requests in progress."""
        return list(self._requests.values())

    @property
    def next_due(self) -> float | None:
        """When `step` is needed next. None: no request is scheduled."""
        times = [self._due[0][0]] if self._due else []
        if self._queue.next_due is not None:
            times.append(self._queue.next_due)
        return min(times, default=None)

    def due(self, item: PendingTermination) -> float:
        """When the next request for a session is due."""
        return max(item.due, self._queue.due(item.session.nas))

    def get(self, session: Session) -> PendingTermination | None:
        """The pending termination of a session. None: the session may continue."""
        return self._pending.get(session.unique_id)

    def has_ended(self, session: Session, now: float) -> bool:
        """Whether the NAS has recently ended a session that accounting still shows."""
        return (session.unique_id, now) in self._ended

    def acknowledged(self, session: Session) -> float | None:
        """When the NAS confirmed that it moved or ended a session, in seconds since 1970. None: it did not recently."""
        return self._acknowledged.get(session.unique_id)

    def step(self, now: float) -> None:
        """Send the requests that are due."""
        while self._due and self._due[0][0] <= now:
            _, key = heapq.heappop(self._due)
            item = self._pending.get(key)
            if item is not None and item.due <= now and key not in self._requests:
                self._enqueue(key, item)
        self.send()
        self._metrics.pending.set(len(self._pending))

    def clock_set_back(self, now: float) -> None:
        """Correct what was recorded before the clock was set back."""
        self._ended = RecentlySeen(_ENDED_SECONDS, _MAX_ENDED)
        self.correct_times(now)
        self._queue.make_due()

    def correct_times(self, now: float) -> None:
        """Make requests due that are scheduled too far ahead: the clock was set back after that."""
        ahead = [key for key, item in self._pending.items() if item.due > now + self._config.retry_max]
        for key in ahead:
            item = self._pending[key]
            item.due, item.noticed = now, min(item.noticed, now)
            heapq.heappush(self._due, (now, key))
        if ahead:
            self._queue.make_due()

    def add(self, session: Session, cause: TerminationCause, noticed: float, access: Access | None = None) -> None:
        """Have a session ended or, if `access` is given, moved to it. `send` begins with it."""
        item = PendingTermination(session, cause, noticed, self._wall(), access=access)
        self._pending[session.unique_id] = item
        self._enqueue(session.unique_id, item)

    def end_instead_of_moving(self, item: PendingTermination, cause: TerminationCause) -> None:
        """End a session that was only to be moved. `send` begins with it."""
        item.access, item.cause, item.due = None, cause, self._wall()
        self._enqueue(item.session.unique_id, item)

    def _enqueue(self, key: str, item: PendingTermination) -> None:
        if key not in self._requests:
            source = self._registry_map.queue_key(item.session.name)
            self._queue.put(item.session.nas, key, source, urgent=item.cause is not TerminationCause.POLICY)

    def send(self) -> None:
        """Send as many requests as may be outstanding."""
        while (ticket := self._queue.take(self._wall())) is not None:
            task = asyncio.create_task(self._use(ticket), name=f"end {ticket.key}")
            self._requests[ticket.key] = task

    async def _use(self, ticket: Ticket) -> None:
        """Send the request that a ticket permits, and schedule the next one if necessary."""
        item = self._pending.get(ticket.key)
        response = NasResponse.NOT_ASKED
        try:
            if item is not None:
                response = await self._request(ticket.key, item)
        except Exception:
            self._log.exception("request for a session failed")
            if item is not None:
                self._retry_later(ticket.key, item)
        finally:
            del self._requests[ticket.key]
        item = self._pending.get(ticket.key)
        silent = response is NasResponse.SILENT
        if item is not None and (silent or item.due <= self._wall()):
            self._enqueue(ticket.key, item)
        if self._queue.done(ticket, self._wall(), response=response):
            self._report_silence(ticket.nas)
        if item is not None and silent:
            item.due = self._queue.due(ticket.nas)
        self.send()

    async def _request(self, key: str, item: PendingTermination) -> NasResponse:
        """Send one request, unless accounting shows that the session has ended."""
        if item.attempts and await self._has_ended_by_accounting(item.session):
            self._finish(key, item, "accounting shows that the session has ended")
            return NasResponse.NOT_ASKED
        access = item.access
        if access is None:
            reply = await self._disconnector.end(item.session)
        else:
            reply = await self._disconnector.move(item.session, access)
            if item.access != access:
                # Meanwhile, the session is to be moved elsewhere, or ended.
                item.due = self._wall()
                return NasResponse.SILENT if reply.result.unreached else NasResponse.ANSWERED
            if reply.result is Result.NAK:
                # RFC 5176 section 3.5: the NAS cannot or will not. After its end, the session starts anew.
                item.access = None
                reply = await self._disconnector.end(item.session)
        self._metrics.disconnects.labels(reply.result).inc()
        self._record(key, item, reply)
        if reply.result is Result.ERROR:
            return NasResponse.NOT_ASKED
        return NasResponse.SILENT if reply.result.unreached else NasResponse.ANSWERED

    def _record(self, key: str, item: PendingTermination, reply: Reply) -> None:
        item.attempts += 1
        item.last_reply = str(reply)
        if reply.result.over:
            self._metrics.revocation_seconds.observe(max(0.0, self._wall() - item.noticed))
            if reply.result is Result.ACK:
                self._acknowledge(key)
            self._finish(key, item, str(reply))
        elif not self._give_up_if_late(key, item) and not reply.result.unreached:
            self._retry_later(key, item)
            self._log.error(
                "session not ended; retrying",
                **_fields(item), retry_seconds=round(item.due - self._wall(), 1),
            )  # fmt: skip

    def _retry_later(self, key: str, item: PendingTermination) -> None:
        delay = retry_delay(item.attempts, self._config.retry_min, self._config.retry_max)
        item.due = self._wall() + delay
        heapq.heappush(self._due, (item.due, key))

    def _report_silence(self, nas: str) -> None:
        """Log that a NAS does not answer, and give up those of its sessions that waited too long."""
        waiting = self._queue.keys(nas)
        if not waiting:
            return
        items = [(key, item) for key in waiting if (item := self._pending.get(key)) is not None]
        self._log.error(
            "NAS not reached; its sessions wait for the next attempt",
            nas=nas,
            sessions=len(waiting),
            reply=next((item.last_reply for _, item in reversed(items) if item.last_reply), ""),
            retry_seconds=round(max(0.0, self._queue.due(nas) - self._wall()), 1),
        )
        for key, item in items:
            self._give_up_if_late(key, item)

    def _give_up_if_late(self, key: str, item: PendingTermination) -> bool:
        if self._wall() - item.noticed < self._config.give_up:
            return False
        self._pending.pop(key, None)
        self._queue.discard(key, item.session.nas)
        self._log.error("session not ended; no further attempts", **_fields(item))
        return True

    def _acknowledge(self, key: str) -> None:
        self._acknowledged[key] = self._wall()
        self._acknowledged.move_to_end(key)
        if len(self._acknowledged) > _MAX_ENDED:
            self._acknowledged.popitem(last=False)

    def _finish(self, key: str, item: PendingTermination, how: str) -> None:
        self._pending.pop(key, None)
        if item.access is None:
            # A session that was moved continues.
            self._ended.add(key, self._wall())
        self._log.info(
            "session over",
            name=item.session.name,
            nas=item.session.nas,
            station=item.session.station,
            cause=str(item.cause),
            how=how,
            seconds=round(max(0.0, self._wall() - item.noticed), 3),
        )

    async def _has_ended_by_accounting(self, session: Session) -> bool:
        try:
            return not await self._accounting.is_live(session)
        except AccountingUnavailable:
            return False


def _fields(item: PendingTermination) -> dict[str, Any]:
    return {
        "name": item.session.name, "nas": item.session.nas, "station": item.session.station,
        "session": item.session.session_id, "cause": str(item.cause), "attempts": item.attempts,
        "reply": item.last_reply,
    }  # fmt: skip

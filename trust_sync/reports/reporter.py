"""Reports decisions and live sessions. It never blocks anything: what the service does not take waits in the log."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

from trust_sync.reports.client import ReportClient, ReportError
from trust_sync.reports.log_tail import Batch, LogTail
from trust_sync.reports.metrics import ReportMetrics
from trust_sync.reports.position import Position, PositionFile
from trust_sync.shared import OperationsConfig, Reporting, retry_delay

_MAX_LINES, _MAX_OCTETS = 1000, 1_000_000
_BACKOFF_SECONDS = (1.0, 60.0)
# Between batches while there are more, so that a long log takes no more than a part of the time.
_PAUSE_SECONDS = 0.05
# Sessions are reported again after this time although nothing has changed.
_REPEAT_SESSIONS_SECONDS = 600.0


@dataclass(frozen=True)
class LiveSession:
    """A live session as it is reported. since: RFC 3339, UTC."""

    id: str
    name: str
    station: str
    nas: str
    ssid: str | None
    since: str | None


# Lists the live sessions; None: accounting cannot be read now.
ListSessions = Callable[[], Awaitable[Sequence[LiveSession] | None]]


class Reporter:
    """Reports to the operations service. error: why the last report failed; None: it did not."""

    def __init__(
        self,
        config: OperationsConfig,
        client: ReportClient,
        log_path: str | None,
        positions: PositionFile,
        sessions: ListSessions,
        poll: float,
        reporting: Reporting[ReportMetrics],
    ) -> None:
        """log_path: the module's decision log; None: it has none that can be read. poll: seconds between sessions."""
        self._interval, self._poll = config.report_interval, poll
        self._client, self._positions, self._sessions = client, positions, sessions
        self._metrics, self._log = reporting.metrics, reporting.log
        self._tail: LogTail | None = None
        if log_path is not None:
            position = positions.load()
            self._tail = LogTail(log_path, position, from_end=positions.problem is not None)
        self._saved: Position | None = None
        self._gaps = 0
        self._failures = {"decisions": 0, "sessions": 0}
        self.errors: dict[str, str | None] = {"decisions": None, "sessions": None}
        # Of the last sessions that were taken, and when.
        self._reported: tuple[str, float] | None = None
        if positions.problem:
            self._log.error("position in the decision log not known; beginning at its end", problem=positions.problem)

    @property
    def lost(self) -> int:
        """Decisions that were never reported, since the first start."""
        return self._tail.position.lost if self._tail is not None else 0

    async def run(self) -> None:
        """Report until cancelled."""
        try:
            await asyncio.gather(
                self._repeat("decisions", self._decisions), self._repeat("sessions", self._of_sessions)
            )
        finally:
            if self._tail is not None:
                self._tail.close()
            await self._client.close()

    async def _repeat(self, report: str, send: Callable[[], Awaitable[float]]) -> None:
        """Call `send`, which returns the seconds until its next call, and repeat it after failures."""
        while True:
            try:
                pause = await send()
            except (ReportError, OSError) as error:
                pause = self._failed(report, str(error))
            except Exception as error:
                self._log.exception("report failed")
                pause = self._failed(report, f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause)

    def _failed(self, report: str, error: str) -> float:
        self._metrics.failures.labels(report).inc()
        self._failures[report] += 1
        if self.errors[report] is None:
            self._log.warning("report not taken; repeating", report=report, error=error)
        self.errors[report] = error
        return retry_delay(self._failures[report], *_BACKOFF_SECONDS)

    def _succeeded(self, report: str) -> None:
        if self.errors[report] is not None:
            self._log.info("reports are taken again", report=report)
        self._failures[report], self.errors[report] = 0, None
        self._metrics.last_success.labels(report).set(time.time())

    async def _decisions(self) -> float:
        """Report the next lines. Raises ReportError, OSError."""
        tail = self._tail
        if tail is None:
            return _BACKOFF_SECONDS[1]
        batch = await asyncio.to_thread(tail.read, _MAX_LINES, _MAX_OCTETS)
        self._count_gaps(tail)
        if batch is None:
            if tail.position != self._saved:
                # Also before the first decision, so that a rotation during a stop is noticed.
                await self._save(tail.position)
            return self._interval
        if batch.decisions:
            await self._save(tail.under_way(batch))
            await self._send(tail, batch)
        tail.take(batch)
        return _PAUSE_SECONDS

    async def _save(self, position: Position) -> None:
        """Raises OSError."""
        await asyncio.to_thread(self._positions.save, position)
        self._saved = position

    async def _send(self, tail: LogTail, batch: Batch) -> None:
        try:
            taken, skipped = await self._client.decisions(batch.identifier, batch.decisions)
        except ReportError as error:
            if not error.hopeless:
                raise
            lines = len(batch.decisions)
            self._log.error("decisions refused by the service; not reported", error=str(error), lines=lines)
            self._lose(tail, lines)
            return
        self._metrics.reported.inc(taken)
        if skipped:
            self._log.info("decisions without a device name not taken", lines=skipped)
        self._succeeded("decisions")

    def _count_gaps(self, tail: LogTail) -> None:
        if tail.gaps > self._gaps:
            self._log.error("a part of the decision log is gone; its decisions are not reported")
            self._lose(tail, tail.gaps - self._gaps)
            self._gaps = tail.gaps

    def _lose(self, tail: LogTail, decisions: int) -> None:
        tail.lose(decisions)
        self._metrics.lost.inc(decisions)

    async def _of_sessions(self) -> float:
        """Report the live sessions, if they have changed. Raises ReportError."""
        sessions = await self._sessions()
        if sessions is None:
            return self._poll
        body = await asyncio.to_thread(_encode, sessions, self.lost)
        digest, now = hashlib.sha256(body).hexdigest(), time.monotonic()
        if self._reported is None or self._reported[0] != digest or now - self._reported[1] > _REPEAT_SESSIONS_SECONDS:
            try:
                await self._client.sessions(body)
            except ReportError as error:
                if not error.hopeless:
                    raise
                self._log.error("live sessions refused by the service", error=str(error), sessions=len(sessions))
            self._reported = digest, now
            self._succeeded("sessions")
        return self._poll


def _encode(sessions: Sequence[LiveSession], lost: int) -> bytes:
    ordered = sorted(map(asdict, sessions), key=lambda session: session["id"])
    return json.dumps({"sessions": ordered, "lost": {"decisions": lost}}, separators=(",", ":")).encode()

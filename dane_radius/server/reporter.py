"""Log lines and metrics of decisions, written beside the authentication path.

A decision costs its device the time of one append; turning it into a line and into numbers is done a moment later, many
at a time. A server that is killed loses the lines of the last moment, a server that is stopped loses none.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from dane_radius.core.ruling import Decision
from dane_radius.local.log import LogFile, Logger
from dane_radius.server.decision_log import decision_line, log_decision, request_fields
from dane_radius.server.metrics import Metrics
from policy import RequestFacts

# What may wait for a log that does not take it (a full or hanging disk), before further lines are counted as lost.
MAX_WAITING = 100_000
_LINES_AT_ONCE = 64


# When, what, how long it took, for whom, under which outer identity.
_Entry = tuple[float, Decision, float, RequestFacts, str | None]


class DecisionReporter:
    """Takes decisions from any thread, and reports them from its own. Without `start`, `report` does it at once."""

    def __init__(
        self,
        logger: Logger,
        metrics: Metrics,
        interval: float = 0.5,
        json_file: LogFile | None = None,
        after: Callable[[Decision], None] | None = None,
    ) -> None:
        """`interval`: seconds between two writes. The thread is not woken for a line: that costs more than the line.

        `json_file`: where lines go at once, as JSON; None: through the logger, one by one. `after` is called with each
        decision, too.
        """
        self._after = after
        self._json_file = json_file
        self._interval = interval
        self._logger = logger
        self._metrics = metrics
        self._waiting: deque[_Entry] = deque()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def report(
        self, decision: Decision, seconds: float, request: RequestFacts, outer_identity: str | None = None
    ) -> None:
        """Note a decision that took `seconds`. `request` and the User-Name of the request are for the log line.

        What waits here is no more than that: memory that is given back at once is still in the processor's caches for
        the next device.
        """
        if len(self._waiting) >= MAX_WAITING:
            self._metrics.unlogged.inc()
            return
        self._waiting.append((time.time(), decision, seconds, request, outer_identity))
        if self._thread is None:
            self._drain()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="decision-reporter", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Report what is left, and end the thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        lines: list[str] = []
        while self._waiting:
            at, decision, seconds, facts, outer_identity = self._waiting.popleft()
            try:
                self._metrics.count(decision, seconds)
                if self._after is not None:
                    self._after(decision)
                request = request_fields(facts, outer_identity)
                if self._json_file is None:
                    log_decision(self._logger, decision, at=at, seconds=seconds, request=request)
                else:
                    lines.append(decision_line(decision, at=at, seconds=seconds, request=request))
            except Exception:
                # One line that cannot be written must not end all reporting.
                self._metrics.unlogged.inc()
            if len(lines) >= _LINES_AT_ONCE:
                self._write(lines)
                lines = []
        self._write(lines)

    def _write(self, lines: list[str]) -> None:
        if lines and self._json_file is not None:
            lost = self._json_file.write_lines(lines)
            if lost:
                self._metrics.unlogged.inc(lost)

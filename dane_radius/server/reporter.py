"""Log lines and metrics of decisions, written outside the authentication path.

The authentication path only appends a decision to a queue. The reporter's thread formats and counts the decisions of an
interval together. A server that is killed loses the lines of the last interval; a server that is stopped loses none.
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

# Decisions that wait while the log cannot be written (a full or hanging disk). Further ones are counted as lost.
MAX_WAITING = 100_000
_LINES_PER_WRITE = 64


# The time, the decision, its duration, the request, and the outer identity.
_Entry = tuple[float, Decision, float, RequestFacts, str | None]


class DecisionReporter:
    """Reports decisions of any thread from a thread of its own. Before `start`, `report` does it synchronously."""

    def __init__(
        self,
        logger: Logger,
        metrics: Metrics,
        interval: float = 0.5,
        json_file: LogFile | None = None,
        after: Callable[[Decision], None] | None = None,
    ) -> None:
        """`interval`: seconds between two writes. Waking the thread for each line would cost more than the line itself.

        `json_file`: the file that JSON lines are written to directly; None: each line goes through the logger. `after`
        is called with each decision.
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
        """Queue a decision that took `seconds`. `request` and `outer_identity` are for the log line.

        Nothing else of the request is kept. Its memory is freed at once, and is still in the processor's caches when
        the next request reuses it.
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
        """Report the decisions in the queue, and stop the thread."""
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
                # A line that cannot be formatted must not stop the thread.
                self._metrics.unlogged.inc()
            if len(lines) >= _LINES_PER_WRITE:
                self._write(lines)
                lines = []
        self._write(lines)

    def _write(self, lines: list[str]) -> None:
        if lines and self._json_file is not None:
            lost = self._json_file.write_lines(lines)
            if lost:
                self._metrics.unlogged.inc(lost)

"""A limit on the log lines that one response of a peer can cause."""

from __future__ import annotations

from collections import Counter

from dane_radius.local import Logger

_MAX_LINES_PER_EVENT = 10


class LimitedLog:
    """Logs at most a few lines of each event for one response, and counts the others."""

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._lines: Counter[str] = Counter()

    def warning(self, event: str, **fields: str) -> None:
        """Log a warning, unless there were too many of this event."""
        if self._has_room(event):
            self._log.warning(event, **fields)

    def error(self, event: str, **fields: str) -> None:
        """Log an error, unless there were too many of this event."""
        if self._has_room(event):
            self._log.error(event, **fields)

    def _has_room(self, event: str) -> bool:
        self._lines[event] += 1
        return self._lines[event] <= _MAX_LINES_PER_EVENT

    def finish(self) -> None:
        """End the response: log how many lines were left out, and start counting again."""
        for event, count in self._lines.items():
            beyond = count - _MAX_LINES_PER_EVENT
            if beyond > 0:
                self._log.warning("further lines of an event not logged", what=event, count=beyond)
        self._lines.clear()

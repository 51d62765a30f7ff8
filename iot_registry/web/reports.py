"""What goes wrong with connections, in one log line a kind and minute, however many they are."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from iot_registry import metrics
from iot_registry.errors import Drop

log = structlog.get_logger("iot_registry.web")

INTERVAL_SECONDS = 60.0


class Reports:
    """Counts every case; logs the first of a kind at once, and then how many more there were, once an interval."""

    def __init__(self, interval: float = INTERVAL_SECONDS) -> None:
        self._interval = interval
        self._more: dict[Drop, int] = {}
        self._last: dict[Drop, str] = {}

    def note(self, kind: Drop, peer: str = "", *, error: BaseException | None = None) -> None:
        """error: a defect of ours; its traceback is logged with the first of the interval."""
        metrics.CONNECTIONS_DROPPED.labels(kind).inc()
        if kind in self._more:
            self._more[kind] += 1
            self._last[kind] = peer
            return
        fields: dict[str, Any] = {"exc_info": error} if error is not None else {}
        log.warning("connection.dropped", reason=kind, peer=peer, count=1, **fields)
        self._more[kind] = 0
        asyncio.get_running_loop().call_later(self._interval, self._flush, kind)

    def _flush(self, kind: Drop) -> None:
        count = self._more.pop(kind)
        if not count:
            return
        log.warning("connection.dropped", reason=kind, peer=self._last.pop(kind), count=count, seconds=self._interval)
        self._more[kind] = 0
        asyncio.get_running_loop().call_later(self._interval, self._flush, kind)

    def unexpected(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The event loop's exception handler: what no one has caught."""
        error = context.get("exception")
        if isinstance(error, ConnectionError | TimeoutError):
            # A peer that went away in the middle of something.
            return
        self.note(Drop.UNEXPECTED, str(context.get("message", ""))[:200], error=error)

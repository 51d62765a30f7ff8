"""Logging dropped connections: one line per reason and minute, however many there are."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from iot_registry.core.drop_reasons import DropReason
from iot_registry.local import metrics

log = structlog.get_logger("iot_registry.web")

INTERVAL_SECONDS = 60.0


class DropLog:
    """Counts every drop. Logs the first one of a reason at once, and the number of further ones once an interval."""

    def __init__(self, interval: float = INTERVAL_SECONDS) -> None:
        self._interval = interval
        self._more: dict[DropReason, int] = {}
        self._last: dict[DropReason, str] = {}

    def note(self, reason: DropReason, peer: str = "", *, error: BaseException | None = None) -> None:
        """Count a dropped connection. error: a defect of the registry; its traceback is logged with the first line."""
        metrics.CONNECTIONS_DROPPED.labels(reason).inc()
        if reason in self._more:
            self._more[reason] += 1
            self._last[reason] = peer
            return
        fields: dict[str, Any] = {"exc_info": error} if error is not None else {}
        log.warning("connection.dropped", reason=reason, peer=peer, count=1, **fields)
        self._more[reason] = 0
        asyncio.get_running_loop().call_later(self._interval, self._flush, reason)

    def _flush(self, reason: DropReason) -> None:
        count = self._more.pop(reason)
        if not count:
            return
        log.warning(
            "connection.dropped", reason=reason, peer=self._last.pop(reason), count=count, seconds=self._interval
        )
        self._more[reason] = 0
        asyncio.get_running_loop().call_later(self._interval, self._flush, reason)

    def unexpected(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The event loop's exception handler, for exceptions that nothing has caught."""
        error = context.get("exception")
        if isinstance(error, ConnectionError | TimeoutError):
            # The peer disconnected.
            return
        self.note(DropReason.UNEXPECTED, str(context.get("message", ""))[:200], error=error)

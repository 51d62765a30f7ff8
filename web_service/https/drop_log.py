"""Logging dropped connections: one line per reason and minute, however many there are."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from web_service.core.drop_reasons import DropReason
from web_service.https.service_face import ServiceFace

INTERVAL_SECONDS = 60.0


class DropLog:
    """Counts every drop. Logs the first one of a reason at once, and the number of further ones once an interval."""

    def __init__(self, service: ServiceFace, interval: float = INTERVAL_SECONDS) -> None:
        self._metrics = service.metrics
        self._log = structlog.get_logger(service.logger)
        self._interval = interval
        self._more: dict[DropReason, int] = {}
        self._last: dict[DropReason, str] = {}

    def note(self, reason: DropReason, peer: str = "", *, error: BaseException | None = None) -> None:
        """Count a dropped connection. error: a defect of the service; its traceback is logged with the first line."""
        self._metrics.connections_dropped.labels(reason).inc()
        if reason in self._more:
            self._more[reason] += 1
            self._last[reason] = peer
            return
        fields: dict[str, Any] = {"exc_info": error} if error is not None else {}
        self._log.warning("connection.dropped", reason=reason, peer=peer, count=1, **fields)
        self._more[reason] = 0
        asyncio.get_running_loop().call_later(self._interval, self._flush, reason)

    def _flush(self, reason: DropReason) -> None:
        count = self._more.pop(reason)
        if not count:
            return
        self._log.warning(
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

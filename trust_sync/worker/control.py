"""The requests that the worker serves on its socket."""

from __future__ import annotations

from typing import Any

from trust_sync.worker.status import describe
from trust_sync.worker.worker import Worker

_DEFAULT_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.3, 30.0


class RequestHandler:
    """Serves `discover`, `status` and `adopt_standing`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Serve a request. Raises ValueError for an invalid one."""
        match request:
            case {"op": "discover", "name": str(name)}:
                outcome = await self._worker.discovery.discoverer.hint(name, _read_wait(request))
                return outcome.to_json()
            case {"op": "status"}:
                return describe(self._worker)
            case {"op": "adopt_standing"}:
                return self._adopt_standing()
        raise ValueError(
            f"op {request.get('op')!r} is not known; discover (with a name), status or adopt_standing is expected"
        )

    def _adopt_standing(self) -> dict[str, Any]:
        feed = self._worker.standing
        if feed is None:
            raise ValueError("no operations service is configured")
        feed.adopt()
        return {"kept": feed.journal.standings.kept, "within_seconds": feed.config.wait}


def _read_wait(request: dict[str, Any]) -> float:
    wait = request.get("wait", _DEFAULT_WAIT_SECONDS)
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait <= _MAX_WAIT_SECONDS:
        raise ValueError(f"wait {wait!r}: seconds from 0 to {_MAX_WAIT_SECONDS:g} are expected")
    return float(wait)

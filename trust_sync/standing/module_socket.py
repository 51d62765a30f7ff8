"""Tells the module in FreeRADIUS, on the same host, that the journal has grown."""

from __future__ import annotations

import asyncio
import time

from dane_radius.local import ControlError, Logger, ask_async

_TIMEOUT_SECONDS = 1.0
# After a failure, so that a module that hangs does not delay each part of a long comparison.
_PAUSE_SECONDS = 2.0


class ModuleSocket:
    """The module's control socket. Without it, or while it does not answer, the module looks once a second."""

    def __init__(self, path: str | None, log: Logger) -> None:
        """path: None if the module has none."""
        self._path, self._log = path, log
        self._failed = False
        self._pause_ends = 0.0

    async def journal_grew(self) -> bool:
        """Have the module read the journal. Returns whether it has done so. Never raises."""
        if self._path is None or time.monotonic() < self._pause_ends:
            return False
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                reply = await ask_async(self._path, "standing")
            if reply.get("done") is False or reply.get("error"):
                raise ControlError(str(reply.get("error") or "the module is still reading the journal"))
        except (ControlError, OSError, TimeoutError) as error:
            if not self._failed:
                self._log.warning(
                    "module not told of a change of standing; it looks once a second",
                    socket=self._path, error=str(error) or type(error).__name__,
                )  # fmt: skip
            self._failed, self._pause_ends = True, time.monotonic() + _PAUSE_SECONDS
            return False
        self._failed = False
        return True

"""Tells the module in FreeRADIUS, on the same host, that the journal has grown."""

from __future__ import annotations

import asyncio
import time

from dane_radius.local import ControlError, Logger, ask_async

_TIMEOUT_SECONDS = 1.5
# Between two questions, while the module is still reading.
_AGAIN_SECONDS = 0.05
# After a failure, so that a module that hangs does not delay each part of a long comparison.
_PAUSE_SECONDS = 2.0


class ModuleSocket:
    """The module's control socket. Without it, or while it does not answer, the module looks once a second."""

    def __init__(self, path: str | None, log: Logger) -> None:
        """path: None if the module has none."""
        self._path, self._log = path, log
        self._failed = False
        self._pause_ends = 0.0

    async def journal_grew(self, sequence: int | None = None) -> bool:
        """Have the module read the journal. Returns whether it has read it, up to `sequence` at least. Never raises.

        While the module is still reading, it is asked again, for 1.5 s in total.
        """
        if self._path is None or time.monotonic() < self._pause_ends:
            return False
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._until_read(self._path, sequence)
        except (ControlError, OSError, TimeoutError) as error:
            if not self._failed:
                self._log.warning(
                    "module not told of a change of standing; it looks once a second",
                    socket=self._path, error=str(error) or "the module has not read the journal in time",
                )  # fmt: skip
            self._failed, self._pause_ends = True, time.monotonic() + _PAUSE_SECONDS
            return False
        self._failed = False
        return True

    async def _until_read(self, path: str, sequence: int | None) -> None:
        """Ask until the module has read the journal. Raises ControlError, OSError."""
        while True:
            reply = await ask_async(path, "standing")
            if reply.get("error"):
                raise ControlError(str(reply["error"]))
            latest = reply.get("latest", reply.get("sequence"))
            behind = sequence is not None and isinstance(latest, int) and latest < sequence
            if reply.get("done") is not False and not behind:
                return
            await asyncio.sleep(_AGAIN_SECONDS)

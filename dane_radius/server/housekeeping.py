"""Periodic work outside the authentication path: following files that change, and removing expired ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from dane_radius.local.anchor_directory import AnchorDirectory
from dane_radius.local.log import Logger
from dane_radius.server.config import SessionConfig
from dane_radius.server.metrics import Metrics
from dane_radius.server.resumption import ResumableSessions
from dane_radius.server.session_folder import make_session_directory, remove_session, sweep_sessions

_PERIOD_SECONDS = 1.0
_SWEEP_EVERY = 10


class Housekeeper:
    """A thread that runs the given tasks once a second, one after the other."""

    def __init__(self, tasks: Sequence[Callable[[], object]], log: Logger, name: str = "housekeeping") -> None:
        self._tasks, self._log = tasks, log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping.wait(_PERIOD_SECONDS):
            self.run_once()

    def run_once(self) -> None:
        """Run each task. An exception in one is logged, and the others still run."""
        for task in self._tasks:
            try:
                task()
            except Exception:
                self._log.exception("housekeeping failed")


class AnchorWatch:
    """Follows the anchor directory. An error is logged once, and again when it changes."""

    def __init__(self, anchors: AnchorDirectory, metrics: Metrics, log: Logger) -> None:
        self._anchors, self._metrics, self._log = anchors, metrics, log
        self._error: str | None = None

    def __call__(self) -> None:
        self._anchors.refresh()
        self._metrics.anchors.set(len(self._anchors))
        if self._anchors.last_error != self._error:
            self._error = self._anchors.last_error
            if self._error:
                self._log.error("anchors", error=self._error)


class SessionWatch:
    """Recreates the session folder if it is missing, and removes expired and superseded files from it."""

    def __init__(self, config: SessionConfig, sessions: ResumableSessions, metrics: Metrics, log: Logger) -> None:
        self._config, self._sessions, self._metrics, self._log = config, sessions, metrics, log
        self._error: str | None = None
        self._rounds = 0

    def __call__(self) -> None:
        self._ensure_directory()
        for path in self._sessions.take_superseded():
            remove_session(path)
        if self._rounds % _SWEEP_EVERY == 0:
            self._metrics.sessions_swept.inc(sweep_sessions(self._config.directory, self._config.max_age))
        self._rounds += 1

    def _ensure_directory(self) -> None:
        """Recreate the folder if a cleaner of temporary files has removed it: without it, every device is refused."""
        directory, problem = self._config.directory, None
        try:
            if make_session_directory(directory):
                self._log.warning("session folder was gone, and is made again", directory=directory)
        except OSError as error:
            problem = error.strerror
        if problem and problem != self._error:
            self._log.error("session folder", directory=directory, error=problem)
        self._error = problem

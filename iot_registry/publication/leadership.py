"""Electing the process that publishes: one for each database. When it ends, another takes over."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from iot_registry.store import advisory_locks
from web_service.store import Database


class Leadership:
    """A lock that ends with its process: an advisory lock in PostgreSQL, a file lock beside SQLite."""

    def __init__(self, database: Database, state_dir: Path) -> None:
        self._database = database
        self._path = state_dir / "publisher.lock"
        self._file: int | None = None
        self._connection: Connection | None = None

    def hold(self) -> bool:
        """Take or keep the lock. False: another process holds it. Raises DBAPIError if the database does not answer."""
        return self._hold_session() if self._database.backend == "postgresql" else self._hold_file()

    def _hold_file(self) -> bool:
        if self._file is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._file = descriptor
        return True

    def _hold_session(self) -> bool:
        try:
            if self._connection is None:
                connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                if not connection.execute(
                    text("SELECT pg_try_advisory_lock(:key)"), {"key": advisory_locks.PUBLISHER}
                ).scalar():
                    connection.close()
                    return False
                self._connection = connection
            # The lock ends with the connection: a lost one must be noticed before anything is published.
            self._connection.execute(text("SELECT 1"))
        except DBAPIError:
            if self._connection is not None:
                self._connection.invalidate()
                self._connection.close()
                self._connection = None
            raise
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

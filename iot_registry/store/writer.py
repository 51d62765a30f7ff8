"""Write transactions of a busy server: those that wait at the same time share one commit.

On SQLite a commit waits for the disk, and only one transaction writes at a time. So one thread takes all that wait,
runs each in a savepoint of its own, and commits once. Nobody is told of a result before that commit: what was
acknowledged is on disk. On PostgreSQL transactions run beside each other, and the server groups their commits itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from iot_registry.store.database import Database

T = TypeVar("T")

# How many share a commit: bounds how long the first of them waits for the last.
MAX_BATCH = 32
# Connections that write to PostgreSQL at a time; its pool holds 8, and readers need some.
POSTGRESQL_WRITERS = 5


class _Lost(Exception):
    """The database has rolled the whole transaction back by itself. The cause is why."""


class _Job:
    """A function that waits to be run, and who waits for it."""

    def __init__(self, function: Callable[[Session], Any]) -> None:
        self.function = function
        self.future: Future[Any] = Future()
        self.result: Any = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Runs functions in write transactions: `submit` from any thread. `stop` finishes what was submitted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._pool: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        if database.backend == "sqlite":
            self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
            self._thread.start()
        else:
            self._pool = ThreadPoolExecutor(POSTGRESQL_WRITERS, thread_name_prefix="writer")

    def submit(self, function: Callable[[Session], T]) -> Future[T]:
        """The result of `function`, once that is committed; or what it raised, and then nothing of it was written."""
        if self._pool is not None:
            return self._pool.submit(self._alone, function)
        job = _Job(function)
        with self._wake:
            if self._stopping:
                raise RuntimeError("the writer was stopped")
            self._waiting.append(job)
            self._wake.notify()
        return job.future

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        if self._thread is not None:
            with self._wake:
                self._stopping = True
                self._wake.notify()
            self._thread.join()

    def _alone(self, function: Callable[[Session], T]) -> T:
        with self._database.write() as session:
            return function(session)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._stopping:
                    self._wake.wait()
                if not self._waiting:
                    return
                jobs = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if jobs:
                self._commit(jobs)

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            if len(jobs) == 1:
                # Nobody else to be kept apart from: a savepoint costs as much as some of these do.
                jobs[0].result = self._alone(jobs[0].function)
                jobs[0].tell()
                return
            with self._database.writing() as connection:
                connection.begin()
                for job in jobs:
                    _run_in_savepoint(connection, job)
                connection.commit()
        except BaseException as error:
            cause = error.__cause__ if isinstance(error, _Lost) else error
            for job in jobs:
                # One that was refused is refused, whatever became of the others.
                job.error = job.error or cause
        for job in jobs:
            job.tell()


def _run_in_savepoint(connection: Connection, job: _Job) -> None:
    """Run one job; what it wrote is undone if it raises. Raises _Lost if the transaction went with it."""
    try:
        with Session(connection, expire_on_commit=False, join_transaction_mode="create_savepoint") as session:
            try:
                job.result = job.function(session)
                session.commit()
            except BaseException as error:
                # Kept here: where the savepoint is gone, to leave it raises an error that says nothing.
                job.error = error
                raise
    except BaseException as error:
        job.error = job.error or error
        # A full disk or a failing one makes SQLite roll everything back, whatever savepoints there are.
        if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
            raise _Lost from job.error

"""Group commit: write transactions that wait at the same time share one commit.

On SQLite, a commit waits for the disk, and only one transaction writes at a time. One thread therefore takes all
functions that wait, runs each in a savepoint of its own, and commits once. No result is returned before that commit:
what was acknowledged is on disk. On PostgreSQL, transactions run in parallel, and the server groups their commits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from web_service.store.database import Database

T = TypeVar("T")

# Functions that share a commit. The bound limits how long the first of them waits for the last.
MAX_COMMIT_GROUP = 32
# Connections that write to PostgreSQL at a time. The pool holds 8, and readers need some of them.
POSTGRESQL_WRITERS = 5


class _TransactionLost(Exception):
    """The database rolled the whole transaction back by itself. `__cause__` is the error."""


class _Submission:
    """A function that was submitted, and the future that its caller waits for."""

    def __init__(self, function: Callable[[Session], Any]) -> None:
        self.function = function
        self.future: Future[Any] = Future()
        self.result: Any = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Runs functions in write transactions. `submit` from any thread; `stop` finishes what was submitted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[_Submission] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._pool: ThreadPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        if database.backend == "sqlite":
            self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
            self._thread.start()
        else:
            self._pool = ThreadPoolExecutor(POSTGRESQL_WRITERS, thread_name_prefix="writer")

    def submit(self, function: Callable[[Session], T]) -> Future[T]:
        """The future result of `function`, set after the commit; if it raises, nothing that it wrote remains."""
        if self._pool is not None:
            return self._pool.submit(self._alone, function)
        submission = _Submission(function)
        with self._changed:
            if self._stopping:
                raise RuntimeError("the writer was stopped")
            self._queue.append(submission)
            self._changed.notify()
        return submission.future

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        if self._thread is not None:
            with self._changed:
                self._stopping = True
                self._changed.notify()
            self._thread.join()

    def _alone(self, function: Callable[[Session], T]) -> T:
        with self._database.write() as session:
            return function(session)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stopping:
                    self._changed.wait()
                if not self._queue:
                    return
                group = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_COMMIT_GROUP))]
            group = [submission for submission in group if submission.future.set_running_or_notify_cancel()]
            if group:
                self._commit(group)

    def _commit(self, group: list[_Submission]) -> None:
        try:
            if len(group) == 1:
                # One function needs no savepoint, which costs as much as some of the functions do.
                group[0].result = self._alone(group[0].function)
                group[0].resolve()
                return
            with self._database.writing() as connection:
                connection.begin()
                for submission in group:
                    _run_in_savepoint(connection, submission)
                connection.commit()
        except BaseException as error:
            cause = error.__cause__ if isinstance(error, _TransactionLost) else error
            for submission in group:
                # A function that raised keeps its own error, whatever happened to the others.
                submission.error = submission.error or cause
        for submission in group:
            submission.resolve()


def _run_in_savepoint(connection: Connection, submission: _Submission) -> None:
    """Run one function, and undo what it wrote if it raises. Raises _TransactionLost if the transaction is gone."""
    try:
        with Session(connection, expire_on_commit=False, join_transaction_mode="create_savepoint") as session:
            try:
                submission.result = submission.function(session)
                session.commit()
            except BaseException as error:
                # Kept here: if the savepoint is gone, leaving it raises another error, which explains nothing.
                submission.error = error
                raise
    except BaseException as error:
        submission.error = submission.error or error
        # On a full or failing disk, SQLite rolls everything back, savepoints included.
        if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
            raise _TransactionLost from submission.error

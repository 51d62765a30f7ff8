"""Database transactions: `read` sees one snapshot; `write` is serialized with other writers of the same rows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from web_service.core.refusals import ConfigurationError

# How long a writer on SQLite waits for the transaction of another.
BUSY_SECONDS = 20


class Database:
    """The SQLAlchemy engine, and the two kinds of transaction that services use.

    Raises ConfigurationError for a URL that is not usable. The first connection raises it for a database on PostgreSQL
    whose encoding is not UTF8.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ConfigurationError(
                "database_url: not a database URL; expected sqlite:///PATH or postgresql://USER@HOST/NAME"
            ) from None
        self.backend = parsed.get_backend_name()
        self._sqlite_writer = threading.Lock()
        if self.backend == "sqlite":
            self.engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
            _prepare_sqlite(self.engine)
        elif self.backend == "postgresql":
            self.engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                pool_size=8,
                # Not what PGCLIENTENCODING or the server's configuration says.
                connect_args={"client_encoding": "UTF8"},
            )
            _require_utf8(self.engine)
        else:
            raise ConfigurationError(f"database_url: found {self.backend}, expected sqlite or postgresql")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction with a consistent view. Whatever it writes is rolled back."""
        options: dict[str, Any] = {"service_begin": "BEGIN"}
        if self.backend == "postgresql":
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.engine.connect().execution_options(**options) as connection, Session(connection) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed when the block ends, and rolled back if the block raises."""
        with self.writing() as connection, Session(connection, expire_on_commit=False) as session:
            yield session
            session.commit()
            connection.commit()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection for one write transaction. Without a commit by the caller it is rolled back."""
        if self.backend != "sqlite":
            with self.engine.connect() as connection:
                yield connection
            return
        options = {"service_begin": "BEGIN IMMEDIATE"}
        with self._sqlite_turn(), self.engine.connect().execution_options(**options) as connection:
            try:
                yield connection
            except BaseException:
                _force_rollback(connection)
                raise

    @contextmanager
    def _sqlite_turn(self) -> Iterator[None]:
        # A lock lets the writers of this process queue. SQLite's own would make them poll, up to 0.1 s at a time.
        if not self._sqlite_writer.acquire(timeout=BUSY_SECONDS):
            raise OperationalError(
                "BEGIN IMMEDIATE", None, TimeoutError(f"another transaction held the database for {BUSY_SECONDS} s")
            )
        try:
            yield
        finally:
            self._sqlite_writer.release()

    def close(self) -> None:
        self.engine.dispose()


def _force_rollback(connection: Connection) -> None:
    """Roll back in the driver too: after a failed COMMIT, SQLite's transaction is open, but not to SQLAlchemy."""
    driver: Any = connection.connection.driver_connection
    with contextlib.suppress(DBAPIError):
        connection.rollback()
    if driver.in_transaction:
        driver.rollback()


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # The driver would begin a transaction at its first write only, when a lock upgrade can already fail.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # What was acknowledged must survive a power failure, not only a crash of the process.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("service_begin", "BEGIN IMMEDIATE"))


def _require_utf8(engine: Engine) -> None:
    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        # Here, because SQLAlchemy's own first statements fail on SQL_ASCII, where psycopg returns octets for text.
        connection = dialect.connect(*arguments, **options)
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            name = connection.info.dbname
            connection.close()
            raise ConfigurationError(
                f"the database {name} has encoding {encoding}, expected UTF8: "
                f"`createdb --template=template0 --encoding=UTF8 NAME` makes one; name it in database_url"
            )
        return connection

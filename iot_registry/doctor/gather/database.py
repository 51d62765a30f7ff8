"""Gathers facts about the database, over connections that can only read: no migration, no file of SQLite is made."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from health_report import CannotTry
from iot_registry import migrations
from iot_registry.doctor.facts import DatabaseFacts
from iot_registry.local.config import Settings
from iot_registry.store import advisory_locks

CONNECT_SECONDS, STATEMENT_SECONDS = 4, 6
# Large databases take longer; then the finding says that it was not finished.
INTEGRITY_SECONDS = 20.0
_INSTRUCTIONS_PER_CALL = 10_000
_LOCK_FILE = "publisher.lock"
# PostgreSQL's name for no encoding at all.
_NONE = "SQL_ASCII"
_FLOCK = re.compile(
    r"\d+: FLOCK +ADVISORY +WRITE (?P<pid>\d+) (?P<major>[0-9a-f]+):(?P<minor>[0-9a-f]+):(?P<inode>\d+) "
)
_MIGRATIONS = Path(migrations.__file__).parent


def revisions() -> list[str]:
    """The schemas that this version knows, the latest first."""
    return [script.revision for script in ScriptDirectory(str(_MIGRATIONS)).walk_revisions()]


def _parsed(settings: Settings) -> URL:
    try:
        return make_url(settings.database_url)
    except ArgumentError:
        raise CannotTry("database_url is not a database URL") from None


@contextlib.contextmanager
def reading(settings: Settings) -> Iterator[Connection]:
    """A connection with a consistent view that cannot write. Raises CannotTry, OSError, DBAPIError."""
    url = _parsed(settings)
    engine = _sqlite(Path(url.database or "")) if url.get_backend_name() == "sqlite" else _postgresql(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextlib.contextmanager
def session_of(settings: Settings) -> Iterator[Session]:
    """As `reading`, with a session."""
    with reading(settings) as connection, Session(connection) as session:
        yield session


def _sqlite_uri(path: Path) -> str:
    # For a clear text: SQLite says `unable to open database file` of everything.
    with path.open("rb"):
        pass
    # With WAL, a reader needs files beside the database, and would make them. Without these files, nobody has the
    # database open, so that its own file is all there is.
    in_use = Path(f"{path}-wal").exists()
    return f"file:{quote(str(path.absolute()))}?mode=ro{'' if in_use else '&immutable=1'}"


def _sqlite(path: Path) -> Engine:
    uri = _sqlite_uri(path)

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=STATEMENT_SECONDS, check_same_thread=False, isolation_level=None)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    options = f"-c default_transaction_read_only=on -c statement_timeout={STATEMENT_SECONDS}s"
    arguments = {"connect_timeout": CONNECT_SECONDS, "options": options, "client_encoding": "UTF8"}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=arguments,
        poolclass=NullPool,
        isolation_level="REPEATABLE READ",
    )

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _record: Any, positional: Any, named: Any) -> Any:
        # SQLAlchemy itself fails on a database without an encoding, and says no reason.
        connection = dialect.connect(*positional, **named)
        encoding = connection.info.parameter_status("server_encoding")
        if encoding == _NONE:
            connection.close()
            raise NoEncoding
        return connection

    return engine


class NoEncoding(CannotTry):
    """The database has no encoding (SQL_ASCII), so that nothing can be read."""

    def __init__(self) -> None:
        super().__init__(f"the database has encoding {_NONE}")


def read_database(settings: Settings) -> DatabaseFacts:
    """The database's encoding and schema. Raises CannotTry, OSError, DBAPIError."""
    url = _parsed(settings)
    title = url.render_as_string(hide_password=True)
    known = revisions()
    try:
        with reading(settings) as connection:
            is_sqlite = connection.dialect.name == "sqlite"
            statement = "PRAGMA encoding" if is_sqlite else "SHOW server_encoding"
            encoding = str(connection.execute(text(statement)).scalar())
            checksums = None if is_sqlite else connection.execute(text("SHOW data_checksums")).scalar() == "on"
            revision = MigrationContext.configure(connection).get_current_revision()
    except NoEncoding:
        return DatabaseFacts(title, _NONE, known[0], known[0], known=True, checksums=False)
    return DatabaseFacts(title, encoding, revision, known[0], revision in known, checksums)


def check_integrity(settings: Settings) -> tuple[str, ...]:
    """What is wrong with the database; empty: nothing. Raises CannotTry, OSError, DBAPIError."""
    url = _parsed(settings)
    if url.get_backend_name() == "sqlite":
        return _quick_check(Path(url.database or ""))
    with reading(settings) as connection:
        # PostgreSQL checks a page's checksum whenever it reads the page, and counts those that are wrong.
        statement = "SELECT coalesce(checksum_failures, 0) FROM pg_stat_database WHERE datname = current_database()"
        failures = connection.execute(text(statement)).scalar()
    return (f"{failures} pages with a wrong checksum",) if failures else ()


def _quick_check(path: Path) -> tuple[str, ...]:
    found = _quick_check_once(path, _sqlite_uri(path))
    # A server that has started meanwhile may have changed the file under this reader.
    again = _sqlite_uri(path)
    return _quick_check_once(path, again) if found and "immutable" not in again else found


def _quick_check_once(path: Path, uri: str) -> tuple[str, ...]:
    ends = time.monotonic() + INTEGRITY_SECONDS - 2
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=STATEMENT_SECONDS)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > ends, _INSTRUCTIONS_PER_CALL)
        try:
            rows = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise CannotTry(f"quick_check of {path} did not finish within {INTEGRITY_SECONDS - 2:g} s") from None
            raise CannotTry(str(error)) from None
        except sqlite3.DatabaseError as error:
            return (str(error),)
    return () if rows == ["ok"] else tuple(" ".join(row.split()) for row in rows)


def find_publisher(settings: Settings) -> str | None:
    """The process that publishes, for a person; None: there is none. Raises CannotTry, OSError, DBAPIError."""
    if _parsed(settings).get_backend_name() == "sqlite":
        return _lock_holder(settings.state_dir / _LOCK_FILE)
    statement = text(
        "SELECT l.pid, host(a.client_addr) FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid "
        "WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid = :key AND l.objsubid = 1 "
        "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with reading(settings) as connection:
        row = connection.execute(statement, {"key": advisory_locks.PUBLISHER}).first()
    return None if row is None else f"the registry with PostgreSQL's session {row[0]}, at {row[1] or 'this machine'},"


def _lock_holder(path: Path) -> str | None:
    """The process that holds the file's lock (proc(5), /proc/locks), which does not disturb those that want it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    device = (os.major(status.st_dev), os.minor(status.st_dev))
    found: dict[bool, str] = {}
    for line in Path("/proc/locks").read_text().splitlines():
        # 1: FLOCK  ADVISORY  WRITE 1234 08:01:131 0 EOF
        match = _FLOCK.match(line)
        if match and int(match["inode"]) == status.st_ino:
            found[(int(match["major"], 16), int(match["minor"], 16)) == device] = f"process {match['pid']}"
    # Some file systems, such as btrfs, have another device number here than in stat(2).
    return found.get(True) or found.get(False)

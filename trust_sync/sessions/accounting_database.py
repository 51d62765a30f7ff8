"""Queries of live sessions in the `radacct` table of FreeRADIUS's rlm_sql, in its stock schema. Read-only."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from trust_sync.sessions.session import Session

_COLUMNS = (
    "acctuniqueid, acctsessionid, username, nasipaddress, callingstationid, calledstationid, nasporttype, acctstarttime"
)
_LIVE = "acctstoptime IS NULL AND username <> ''"
_NAMES_PER_QUERY = 500


class AccountingUnavailable(RuntimeError):
    """The accounting database cannot be read now."""


class AccountingDatabase(Protocol):
    """The accounting database. Every method raises AccountingUnavailable, and may be called from any thread."""

    def names(self) -> set[str]:
        """List the names that have live sessions."""

    def live(self, names: Sequence[str]) -> set[str]:
        """Select the names that have live sessions."""

    def of(self, names: Sequence[str]) -> list[Session]:
        """List the live sessions of some names."""

    def all(self) -> list[Session]:
        """List all live sessions."""

    def is_live(self, session: Session) -> bool:
        """Say whether a session is still live."""

    def nas_secrets(self) -> list[tuple[str, str]]:
        """List address (or network) and secret of each row of the `nas` table."""


class _SqlAccounting:
    """The queries for both databases. Each has its own connection: queries are rare, and a kept one could go stale."""

    mark = "?"

    def _connect(self) -> contextlib.AbstractContextManager[Any]:
        raise NotImplementedError

    def _rows(self, query: str, *values: str) -> list[Any]:
        with self._connect() as connection:
            cursor = connection.cursor()
            cursor.execute(query.replace("?", self.mark), values)
            return list(cursor.fetchall())

    def names(self) -> set[str]:
        # The text is fixed. Values are passed as parameters.
        return {str(row[0]) for row in self._rows(f"SELECT DISTINCT username FROM radacct WHERE {_LIVE}")}  # noqa: S608

    def live(self, names: Sequence[str]) -> set[str]:
        return {str(row[0]) for row in self._rows_of("DISTINCT username", names)}

    def of(self, names: Sequence[str]) -> list[Session]:
        rows = self._rows_of(_COLUMNS, names)
        return [_to_session(row) for row in rows]

    def all(self) -> list[Session]:
        return [_to_session(row) for row in self._rows(f"SELECT {_COLUMNS} FROM radacct WHERE {_LIVE}")]  # noqa: S608

    def _rows_of(self, columns: str, names: Sequence[str]) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(names), _NAMES_PER_QUERY):
            some = names[start : start + _NAMES_PER_QUERY]
            marks = ", ".join("?" * len(some))
            rows += self._rows(f"SELECT {columns} FROM radacct WHERE {_LIVE} AND username IN ({marks})", *some)  # noqa: S608
        return rows

    def is_live(self, session: Session) -> bool:
        query = f"SELECT 1 FROM radacct WHERE {_LIVE} AND acctuniqueid = ?"  # noqa: S608
        return bool(self._rows(query, session.unique_id))

    def nas_secrets(self) -> list[tuple[str, str]]:
        return [(str(row[0]), str(row[1])) for row in self._rows("SELECT nasname, secret FROM nas")]


def _to_session(row: Sequence[Any]) -> Session:
    texts = [str(value if value is not None else "").strip() for value in row[:7]]
    unique_id, session_id, name, nas, station, called_station, port_type = texts
    return Session(unique_id, session_id, name, nas, station, called_station, port_type, _seconds(row[7]))


def _seconds(value: Any) -> float | None:
    """A time as SQLite or PostgreSQL stores it in the stock schema, in seconds since 1970."""
    if isinstance(value, datetime):
        return value.timestamp()
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


class SqliteAccounting(_SqlAccounting):
    """The database at `sqlite:///PATH`, opened read-only."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=2)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise AccountingUnavailable(f"{self._path}: {error}") from error


class PostgresAccounting(_SqlAccounting):
    """The database at `postgresql://...`, a URL of libpq."""

    mark = "%s"

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        # Imported here because a site that uses SQLite may not have it.
        import psycopg

        try:
            with psycopg.connect(self._url, connect_timeout=2, autocommit=True) as connection:
                connection.read_only = True
                yield connection
        except psycopg.Error as error:
            # libpq's message names host and user, but never the password.
            raise AccountingUnavailable(f"PostgreSQL: {str(error).strip()}") from error


def open_accounting(url: str) -> AccountingDatabase:
    """Open the database at `sqlite:///PATH` or `postgresql://...`. Each query connects anew."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return SqliteAccounting(url.removeprefix("sqlite://").replace("//", "/", 1))
    return PostgresAccounting(url)

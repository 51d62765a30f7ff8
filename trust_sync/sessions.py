"""Live sessions, from the `radacct` table of FreeRADIUS's rlm_sql in its stock schema. Only ever read."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

_COLUMNS = "acctuniqueid, acctsessionid, username, nasipaddress, callingstationid, calledstationid, nasporttype"
_LIVE = "acctstoptime IS NULL AND username <> ''"
_NAMES_AT_ONCE = 500


class SessionsUnavailable(RuntimeError):
    """The accounting database cannot be read now."""


@dataclass(frozen=True, slots=True)
class Session:
    """A live session. `name`: the device's, which the Access-Accept gave the NAS as User-Name."""

    unique_id: str
    session_id: str
    name: str
    nas: str
    station: str
    called_station: str = ""
    port_type: str = ""

    def to_json(self) -> dict[str, str]:
        return {field: getattr(self, field) for field in self.__slots__}


class SessionSource(Protocol):
    """Where live sessions come from. Every method raises SessionsUnavailable; all may be called from any thread."""

    def names(self) -> set[str]:
        """The names that have live sessions."""

    def live(self, names: Sequence[str]) -> set[str]:
        """Those of some names that have live sessions."""

    def of(self, names: Sequence[str]) -> list[Session]:
        """The live sessions of some names."""

    def is_live(self, session: Session) -> bool:
        """Whether a session has not ended."""

    def nas_secrets(self) -> list[tuple[str, str]]:
        """Address (or network) and secret of each row of the `nas` table."""


class _Database:
    """The queries, over either database. A connection for each: they are rare, and none is held that could go stale."""

    mark = "?"

    def _connect(self) -> contextlib.AbstractContextManager[Any]:
        raise NotImplementedError

    def _rows(self, query: str, *values: str) -> list[Any]:
        with self._connect() as connection:
            cursor = connection.cursor()
            cursor.execute(query.replace("?", self.mark), values)
            return list(cursor.fetchall())

    def names(self) -> set[str]:
        # A fixed text: the values never come into it.
        return {str(row[0]) for row in self._rows(f"SELECT DISTINCT username FROM radacct WHERE {_LIVE}")}  # noqa: S608

    def live(self, names: Sequence[str]) -> set[str]:
        return {str(row[0]) for row in self._rows_of("DISTINCT username", names)}

    def of(self, names: Sequence[str]) -> list[Session]:
        rows = self._rows_of(_COLUMNS, names)
        return [Session(*(str(value if value is not None else "").strip() for value in row)) for row in rows]

    def _rows_of(self, columns: str, names: Sequence[str]) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(names), _NAMES_AT_ONCE):
            some = names[start : start + _NAMES_AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows += self._rows(f"SELECT {columns} FROM radacct WHERE {_LIVE} AND username IN ({marks})", *some)  # noqa: S608
        return rows

    def is_live(self, session: Session) -> bool:
        query = f"SELECT 1 FROM radacct WHERE {_LIVE} AND acctuniqueid = ?"  # noqa: S608
        return bool(self._rows(query, session.unique_id))

    def nas_secrets(self) -> list[tuple[str, str]]:
        return [(str(row[0]), str(row[1])) for row in self._rows("SELECT nasname, secret FROM nas")]


class SqliteSessions(_Database):
    """`sqlite:///PATH`, opened read-only."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=2)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise SessionsUnavailable(f"{self._path}: {error}") from error


class PostgresSessions(_Database):
    """`postgresql://...`, as libpq reads it."""

    mark = "%s"

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        # Imported here: a site with SQLite need not have it.
        import psycopg

        try:
            with psycopg.connect(self._url, connect_timeout=2, autocommit=True) as connection:
                connection.read_only = True
                yield connection
        except psycopg.Error as error:
            # The message of a failed connection names host and user, never the password.
            raise SessionsUnavailable(f"PostgreSQL: {str(error).strip()}") from error


def open_sessions(url: str) -> SessionSource:
    """The session source for `sqlite:///PATH` or `postgresql://...`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return SqliteSessions(url.removeprefix("sqlite://").replace("//", "/", 1))
    return PostgresSessions(url)

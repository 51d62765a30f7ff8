"""The audit log on PostgreSQL is append-only against every statement, also in a migrated database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from iot_registry.store import migrate
from tests.integration.iot_registry.parts import PostgreSQL
from web_service.store import Database

LINE = "(time, actor, action, target, detail) VALUES (now(), 'ada', 'device.add', 'a', '{}')"
WHOLE = "(id, time, actor, action, target, detail) VALUES (2, now(), 'nobody', 'nothing', 'a', '{}')"
ATTACKS = [
    "UPDATE audit SET actor = 'nobody'",
    "DELETE FROM audit WHERE id = 2",
    "TRUNCATE audit",
    "TRUNCATE domains CASCADE",
    f"INSERT INTO audit {WHOLE} ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
    "MERGE INTO audit USING (SELECT 2 AS id) AS wanted ON audit.id = wanted.id "
    "WHEN MATCHED THEN UPDATE SET actor = 'nobody'",
    "WITH gone AS (DELETE FROM audit RETURNING *) SELECT count(*) FROM gone",
]


@pytest.fixture(scope="module")
def upgraded() -> Iterator[Database]:
    """A database with the first schema and three lines, migrated to this version."""
    with PostgreSQL() as server:
        database = Database(server.url)
        with database.engine.connect() as connection:
            command.upgrade(migrate.config(connection), "0001")
            for _ in range(3):
                connection.execute(text(f"INSERT INTO audit {LINE}"))
            connection.commit()
        migrate.upgrade(database)
        yield database
        database.close()


def lines(database: Database) -> list[tuple[int, str]]:
    with database.engine.connect() as connection:
        return [(row[0], row[1]) for row in connection.execute(text("SELECT id, actor FROM audit ORDER BY id"))]


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_statement_changes_it(upgraded: Database, attack: str, role: str) -> None:
    with upgraded.engine.connect() as connection:
        connection.execute(text(f"SET session_replication_role = {role}"))
        with pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(attack))
    assert lines(upgraded) == [(1, "ada"), (2, "ada"), (3, "ada")]


def test_it_still_grows(upgraded: Database) -> None:
    with upgraded.engine.connect() as connection:
        connection.execute(text(f"INSERT INTO audit {LINE}"))
        assert connection.execute(text("SELECT count(*) FROM audit")).scalar() == 4
        connection.rollback()

"""The audit log is append-only against every statement, also in a migrated database."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from iot_registry.store import migrate
from web_service.store import Database

LINE = "(time, actor, action, target, detail) VALUES ('2026-11-21', 'ada', 'device.add', 'a', '{}')"
WHOLE = "(id, time, actor, action, target, detail) VALUES (%s, '2026-11-21', 'nobody', 'nothing', 'a', '{}')"
SETTINGS = ("PRAGMA recursive_triggers = OFF", "PRAGMA recursive_triggers = ON")

ATTACKS = [
    "UPDATE audit SET actor = 'nobody'",
    "UPDATE OR REPLACE audit SET id = 1 WHERE id = 2",
    "UPDATE OR IGNORE audit SET actor = 'nobody'",
    "DELETE FROM audit",
    "DELETE FROM audit WHERE id = 2",
    "INSERT OR REPLACE INTO audit " + WHOLE % 2,
    "REPLACE INTO audit " + WHOLE % 2,
    "REPLACE INTO audit " + WHOLE % 1,
    "INSERT INTO audit " + WHOLE % 2 + " ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
    "INSERT OR IGNORE INTO audit " + WHOLE % 2,
    "INSERT OR REPLACE INTO audit (rowid, time, actor, action, target, detail) SELECT 2, time, 'x', action, target, "
    "detail FROM audit WHERE id = 2",
    # Ids before the first line, or that leave a gap.
    "INSERT INTO audit " + WHOLE % 0,
    "INSERT INTO audit " + WHOLE % -1,
    "INSERT INTO audit " + WHOLE % -5,
    "INSERT INTO audit " + WHOLE % 9,
    "INSERT INTO audit " + WHOLE % 9223372036854775807,
]


def lines(database: Database) -> list[tuple[int, str]]:
    with database.engine.connect() as connection:
        return [(row[0], row[1]) for row in connection.execute(text("SELECT id, actor FROM audit ORDER BY id"))]


def add(connection: Connection) -> None:
    connection.execute(text(f"INSERT INTO audit {LINE}"))


@pytest.fixture
def old(tmp_path: Path) -> Database:
    """A database with the first schema and three lines."""
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.engine.connect() as connection:
        command.upgrade(migrate.config(connection), "0001")
        for _ in range(3):
            add(connection)
        connection.commit()
    return database


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_statement_changes_it(old: Database, attack: str, setting: str) -> None:
    migrate.upgrade(old)
    before = lines(old)
    with old.engine.connect() as connection:
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql(setting)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(DBAPIError, match="append-only"):
            connection.exec_driver_sql(attack)
        connection.commit()
    assert lines(old) == before
    with old.engine.connect() as connection:
        add(connection)
        connection.execute(text(f"INSERT INTO audit {WHOLE % 5}"))
        connection.commit()
    assert lines(old) == [*before, (4, "ada"), (5, "nobody")]
    old.close()


def test_the_first_schema_did_not_hold(old: Database) -> None:
    """Without the migration, the test above would fail."""
    with old.engine.connect() as connection:
        connection.execute(text("REPLACE INTO audit " + WHOLE % 2))
        connection.commit()
    assert lines(old)[1] == (2, "nobody")
    old.close()


def test_an_upgrade_keeps_every_line_and_happens_once(old: Database) -> None:
    before = lines(old)
    migrate.upgrade(old)
    migrate.upgrade(old)
    assert lines(old) == before == [(1, "ada"), (2, "ada"), (3, "ada")]
    old.close()


def test_the_first_line_of_an_empty_log(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    migrate.upgrade(database)
    with database.engine.connect() as connection:
        add(connection)
        connection.commit()
    assert lines(database) == [(1, "ada")]
    database.close()

"""The schema: migrations and models agree, and the audit log only grows."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from operations.service import audit
from operations.store import migrate
from operations.store.models import Base
from tests.unit.operations.conftest import NOW, WHO, Bench
from web_service.core import ConfigurationError
from web_service.store import Database


def test_migrations_make_what_the_models_say(bench: Bench) -> None:
    with bench.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    migrate.upgrade(bench.database)


def test_a_newer_schema_is_refused(bench: Bench) -> None:
    bench.write(lambda s: s.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(ConfigurationError, match="9999"):
        migrate.upgrade(bench.database)


def test_what_is_committed_survives_a_power_failure(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'x.db'}")
    with database.read() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        # 2: FULL. The file is synchronized before a commit returns.
        assert session.execute(text("PRAGMA synchronous")).scalar() == 2
    database.close()


WHOLE = "(id, time, actor, action, target, detail) VALUES (%d, '2026-01-01', 'x', 'x', 'x', '{}')"


@pytest.mark.parametrize("pragma", ["OFF", "ON"])
@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE audit SET actor = 'nobody'",
        "UPDATE OR REPLACE audit SET id = 1 WHERE id = 2",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit " + WHOLE % 1,
        "REPLACE INTO audit " + WHOLE % 2,
        "INSERT INTO audit " + WHOLE % 0,
        "INSERT INTO audit " + WHOLE % -1,
        "INSERT INTO audit " + WHOLE % 9,
    ],
)
def test_no_statement_changes_the_audit_log(bench: Bench, attack: str, pragma: str) -> None:
    for _ in range(2):
        bench.write(lambda s: audit.record(s, WHO, "test", "x", NOW))
    with bench.database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA recursive_triggers = {pragma}")
        with pytest.raises(IntegrityError, match="append-only"):
            connection.execute(text(attack))
        connection.rollback()
    bench.write(lambda s: audit.record(s, WHO, "test", "x", NOW))
    entries, _ = bench.read(lambda s: audit.page(s, WHO))
    assert [(entry.id, entry.actor) for entry in entries] == [(number, "local:test") for number in (1, 2, 3)]

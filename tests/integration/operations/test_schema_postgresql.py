"""The schema on PostgreSQL: made once, also by several processes; and an audit log that only grows."""

from __future__ import annotations

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from operations.service import audit
from operations.service.access import local_principal
from operations.store import change_feed, migrate
from operations.store.models import Base
from tests.integration.iot_registry.parts import PostgreSQL
from web_service.local import utc_now
from web_service.store import Database

pytestmark = pytest.mark.daemons


def test_the_schema_is_made_once_and_the_audit_log_only_grows(postgresql: PostgreSQL) -> None:
    databases = [Database(postgresql.url) for _ in range(4)]
    threads = [threading.Thread(target=migrate.upgrade, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    database = databases[0]
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert len({_origin(one) for one in databases}) == 1
    with database.write() as session:
        audit.record(session, local_principal("test"), "test", "x", utc_now())
    for attack in (
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "INSERT INTO audit SELECT * FROM audit ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
    ):
        with database.engine.connect() as connection:
            connection.execute(text("SET session_replication_role = replica"))
            with pytest.raises(DBAPIError, match="append-only"):
                connection.execute(text(attack))
    for one in databases:
        one.close()


def _origin(database: Database) -> str:
    with database.read() as session:
        return change_feed.origin(session)

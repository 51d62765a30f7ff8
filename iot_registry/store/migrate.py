"""Bring a database to the schema of this version, and say which schema it has."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from iot_registry.errors import ConfigurationError
from iot_registry.store.database import Database

_MIGRATIONS = Path(__file__).parents[1] / "migrations"
# Any number, but the same in every process: only one of them may migrate at a time.
_LOCK = 7_294_815


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database) -> None:
    """Migrate to this version's schema, under a lock. Raises ConfigurationError if the database is newer."""
    with database.engine.connect() as connection:
        if database.backend == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config = _config(connection)
        scripts = ScriptDirectory.from_config(config)
        found = MigrationContext.configure(connection).get_current_revision()
        if found and found not in {script.revision for script in scripts.walk_revisions()}:
            raise ConfigurationError(f"the database has schema {found}, unknown to this version: a newer one made it")
        if found != scripts.get_current_head():
            command.upgrade(config, "head")
        connection.commit()

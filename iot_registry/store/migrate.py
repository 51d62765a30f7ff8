"""Migrating a database to the schema of this version."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from iot_registry.core.errors import ConfigurationError
from iot_registry.store import advisory_locks
from iot_registry.store.database import Database

_MIGRATIONS = Path(__file__).parents[1] / "migrations"


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database) -> None:
    """Migrate to this version's schema, one process at a time. Raises ConfigurationError if the schema is newer."""
    with database.engine.connect() as connection:
        if database.backend == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": advisory_locks.MIGRATION})
        config = _config(connection)
        scripts = ScriptDirectory.from_config(config)
        found = MigrationContext.configure(connection).get_current_revision()
        if found and found not in {script.revision for script in scripts.walk_revisions()}:
            raise ConfigurationError(
                f"the database has schema {found}, which a newer version made: run that version, or restore a backup"
            )
        if found != scripts.get_current_head():
            command.upgrade(config, "head")
        connection.commit()

"""Migrating a database to the schema of this version."""

from __future__ import annotations

from pathlib import Path

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text

from web_service.core.refusals import ConfigurationError
from web_service.store.database import Database


def alembic_config(connection: Connection, folder: Path) -> Config:
    """What alembic's commands need to run the migrations in `folder` on this connection."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database, folder: Path, lock: int) -> None:
    """Migrate to this version's schema, one process at a time. Raises ConfigurationError if the schema is newer.

    folder: the service's migrations. lock: number of the PostgreSQL advisory lock that its processes agree on.
    """
    with database.engine.connect() as connection:
        if database.backend == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})
        config = alembic_config(connection, folder)
        scripts = ScriptDirectory.from_config(config)
        found = MigrationContext.configure(connection).get_current_revision()
        if found and found not in {script.revision for script in scripts.walk_revisions()}:
            raise ConfigurationError(
                f"the database has schema {found}, which a newer version made: run that version, or restore a backup"
            )
        if found != scripts.get_current_head():
            command.upgrade(config, "head")
        connection.commit()


def run_migrations(metadata: MetaData) -> None:
    """What a service's `env.py` does: run the migrations on the connection of `upgrade`, in its transaction."""
    context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()

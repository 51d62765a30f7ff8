"""Migrating a database to the schema of this version."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from sqlalchemy import Connection

import web_service.store
from iot_registry.store import advisory_locks
from web_service.store import Database

_MIGRATIONS = Path(__file__).parents[1] / "migrations"


def config(connection: Connection) -> Config:
    """What alembic's commands need to run the migrations on this connection."""
    return web_service.store.alembic_config(connection, _MIGRATIONS)


def upgrade(database: Database) -> None:
    """Migrate to this version's schema, one process at a time. Raises ConfigurationError if the schema is newer."""
    web_service.store.upgrade(database, _MIGRATIONS, advisory_locks.MIGRATION)

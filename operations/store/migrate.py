"""Migrating a database to the schema of this version."""

from __future__ import annotations

from pathlib import Path

import web_service.store
from operations.store import advisory_locks
from web_service.store import Database

_MIGRATIONS = Path(__file__).parents[1] / "migrations"


def upgrade(database: Database) -> None:
    """Migrate to this version's schema, one process at a time. Raises ConfigurationError if the schema is newer."""
    web_service.store.upgrade(database, _MIGRATIONS, advisory_locks.MIGRATION)

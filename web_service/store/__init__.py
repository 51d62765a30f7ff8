"""Transactions, group commit, migrations and column types, on SQLite or PostgreSQL."""

from web_service.store.columns import BigId, UtcTime
from web_service.store.database import Database
from web_service.store.migrate import alembic_config, run_migrations, upgrade
from web_service.store.position import Position
from web_service.store.writer import Writer

__all__ = ["BigId", "Database", "Position", "UtcTime", "Writer", "alembic_config", "run_migrations", "upgrade"]

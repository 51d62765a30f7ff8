"""Alembic's entry point. It runs on the connection of `iot_registry.store.migrate`, in its transaction."""

from iot_registry.store.models import Base
from web_service.store import run_migrations

run_migrations(Base.metadata)

"""Alembic's entry point. It runs on the connection of `operations.store.migrate`, in its transaction."""

from operations.store.models import Base
from web_service.store import run_migrations

run_migrations(Base.metadata)

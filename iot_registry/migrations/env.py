"""Alembic's entry point. It runs on the connection of `iot_registry.store.migrate`, in its transaction."""

from alembic import context

from iot_registry.store.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()

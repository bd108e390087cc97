"""Alembic's entry: runs inside the transaction that `jobs.store.migrate` opened."""

from alembic import context

from jobs.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()

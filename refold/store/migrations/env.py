"""Alembic's environment: runs on the connection that `refold.store.migrate` hands over."""

from alembic import context

from refold.store.schema import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    transaction_per_migration=False,
)
context.run_migrations()

"""Alembic's entry: migrates over the connection that projects/stores/database.py hands in, in its transaction."""

from __future__ import annotations

from alembic import context

from tenshot.projects.stores.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    # SQLite cannot alter a table in place; a batch copies it.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
